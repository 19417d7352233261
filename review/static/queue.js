// The queue: j and k move, Enter opens.
import { isTyping } from "./page.js";

const rows = [...document.querySelectorAll("tr[data-lead]")];
let at = -1;

function go(to) {
  if (!rows.length) return;
  rows[at]?.classList.remove("at");
  at = Math.min(rows.length - 1, Math.max(0, to));
  rows[at].classList.add("at");
  rows[at].querySelector("a.open").focus({ preventScroll: true });
  rows[at].scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  if (isTyping(event)) return;
  if (event.key === "j") go(at + 1);
  else if (event.key === "k") go(at - 1);
  else if (event.key === "Enter" && at >= 0 && event.target === document.body) {
    location.assign(rows[at].querySelector("a.open").href);
  }
});
