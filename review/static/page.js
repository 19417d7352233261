// Every page: local times, countdowns, copy buttons, the table of keys.

const language = document.documentElement.lang;

const dayAndTime = new Intl.DateTimeFormat("sv-SE", {
  year: "numeric", month: "2-digit", day: "2-digit",
  hour: "2-digit", minute: "2-digit", second: "2-digit",
});
const zone = new Intl.DateTimeFormat(language, { timeZoneName: "short" });

for (const element of document.querySelectorAll("time[datetime]")) {
  const moment = new Date(element.dateTime);
  const name = zone.formatToParts(moment).find((part) => part.type === "timeZoneName");
  element.title = `${element.textContent} (${name ? name.value : ""})`;
  element.textContent = dayAndTime.format(moment);
}

function countDown() {
  for (const element of document.querySelectorAll("[data-until]")) {
    const left = Math.max(0, Math.round((new Date(element.dataset.until) - Date.now()) / 1000));
    element.textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
  }
}
countDown();
setInterval(countDown, 1000);

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy], [data-opens]");
  if (!button) return;
  if (button.dataset.opens) {
    document.getElementById(button.dataset.opens).showModal();
    return;
  }
  await navigator.clipboard.writeText(button.dataset.copy);
  button.classList.add("copied");
  setTimeout(() => button.classList.remove("copied"), 1200);
});

// A form is sent once: a second click does nothing while the first is under way.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = "yes";
  for (const button of form.querySelectorAll("button:not([type=button])")) button.disabled = true;
});
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

document.addEventListener("keydown", (event) => {
  if (isTyping(event) || event.key !== "?") return;
  const keys = document.getElementById("keys");
  if (!keys) return;
  event.preventDefault();
  if (keys.open) keys.close();
  else keys.showModal();
});

/** Whether a key belongs to a field, a dialog or the browser rather than to us. */
export function isTyping(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return true;
  const field = event.target.closest?.("textarea, select, input:not([type=radio]):not([type=checkbox]):not([type=range])");
  return Boolean(field) || (document.querySelector("dialog[open]") !== null && event.key !== "?");
}
