// The verdict panel and moving between cases, by keys. Nothing is sent before Submit.
import { isTyping } from "./page.js";

const form = document.getElementById("verdict-form");
const undo = document.getElementById("undo");
const reasons = document.getElementById("reasons");
const history = []; // What was chosen, so that it can be taken back before it is sent.

const chosen = () => form?.querySelector("[name=verdict]:checked")?.value ?? "";
const state = () => Object.fromEntries([...new FormData(form)].filter(([name]) => name !== "csrf"));
let before = form ? state() : {};

/** Only the reasons that go with the chosen verdict are offered, and numbered. */
function offerReasons() {
  if (!reasons) return;
  const verdict = chosen();
  let number = 0;
  let only = null;
  for (const choice of reasons.querySelectorAll(".choice")) {
    const fits = verdict !== "" && choice.dataset.with.split(" ").includes(verdict);
    choice.hidden = !fits;
    const input = choice.querySelector("input");
    input.disabled = !fits;
    if (!fits) input.checked = false;
    else {
      number += 1;
      only = input;
      choice.querySelector(".nth").textContent = number;
    }
  }
  reasons.hidden = number === 0;
  for (const input of reasons.querySelectorAll("input")) input.required = number > 0;
  if (number === 1) only.checked = true;
}

/** A confirmation needs four times yes; the browser says so before anything is sent. */
function askAttestations() {
  const attest = document.getElementById("attest");
  if (!attest) return;
  const confirming = chosen() === "confirm";
  for (const input of attest.querySelectorAll("input")) {
    input.required = confirming;
    const refused = confirming && input.checked && input.value === "no";
    input.setCustomValidity(refused ? attest.dataset.refusal : "");
  }
}

function remember() {
  history.push(before);
  before = state();
  undo.disabled = false;
}

function takeBack() {
  const earlier = history.pop();
  if (!earlier) return;
  for (const input of form.querySelectorAll("input[type=radio]")) {
    input.checked = earlier[input.name] === input.value;
  }
  form.elements.note.value = earlier.note ?? "";
  offerReasons();
  for (const input of reasons.querySelectorAll("input:not(:disabled)")) {
    input.checked = earlier.reason === input.value;
  }
  askAttestations();
  before = state();
  undo.disabled = history.length === 0;
}

function choose(input) {
  if (!input || input.checked) return;
  input.checked = true;
  input.dispatchEvent(new Event("change", { bubbles: true }));
}

/** With a rejection the numbers choose reasons; before a confirmation they answer attestations. */
function number(n) {
  const open = [...reasons.querySelectorAll(".choice:not([hidden]) input")];
  if (open.length > 1 || form.dataset.kind === "triage") {
    choose(open[n - 1]);
    return;
  }
  const row = form.querySelector(`[data-nth="${n}"]`);
  if (!row) return;
  const [yes, no] = row.querySelectorAll("input");
  choose(yes.checked ? no : yes);
}

if (form) {
  offerReasons();
  before = state();
  form.addEventListener("change", () => {
    offerReasons();
    askAttestations();
    remember();
  });
  undo.addEventListener("click", takeBack);
}

document.addEventListener("keydown", (event) => {
  if (form && event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    form.requestSubmit();
    return;
  }
  if (isTyping(event)) return;
  const claim = document.getElementById("claim-form");
  if (event.key === "j") document.querySelector("a[rel=next]")?.click();
  else if (event.key === "k") document.querySelector("a[rel=prev]")?.click();
  else if (event.key === "q") document.getElementById("to-queue")?.click();
  else if (event.key === "c" && claim) claim.requestSubmit();
  else if (form && "axuo".includes(event.key)) choose(form.querySelector(`[data-key="${event.key}"]`));
  else if (form && event.key === "z") takeBack();
  else if (form && /^[1-9]$/.test(event.key)) number(Number(event.key));
  else return;
  event.preventDefault();
});
