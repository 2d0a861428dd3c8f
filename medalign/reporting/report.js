document.documentElement.classList.add("scripted");

// Sorts a table by the column whose heading is pressed; undefined values stay last.
for (const button of document.querySelectorAll("table.sortable th button")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th"), table = button.closest("table"), body = table.tBodies[0];
    const column = [...heading.parentNode.children].indexOf(heading), isNumber = button.dataset.sort === "number";
    const up = isNumber ? heading.ariaSort === "descending" : heading.ariaSort !== "ascending";
    for (const other of heading.parentNode.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => {
      const cell = row.children[column];
      if (!isNumber) return cell.textContent.trim();
      return cell.dataset.value === "" ? null : Number(cell.dataset.value);
    };
    const order = (a, b) => {
      const x = key(a), y = key(b);
      if (x === null || y === null) return (x === null) - (y === null);
      return (isNumber ? x - y : x.localeCompare(y)) * (up ? 1 : -1);
    };
    body.append(...[...body.rows].sort(order));
  });
}

// What a mark in a plot stands for, where it is pointed at or focused.
const tip = document.getElementById("tip");
let told = null;
const hide = () => { told = null; tip.hidden = true; };
const show = (mark) => {
  told = mark;
  tip.textContent = mark.dataset.tip;
  tip.hidden = false;
  const at = mark.getBoundingClientRect(), width = tip.offsetWidth, height = tip.offsetHeight;
  const left = Math.min(Math.max(8, at.left + at.width / 2 - width / 2), innerWidth - width - 8);
  tip.style.left = `${left}px`;
  tip.style.top = `${at.top - height - 8 > 4 ? at.top - height - 8 : at.bottom + 8}px`;
};
const markOf = (event) => event.target.closest && event.target.closest("[data-tip]");
for (const way of ["pointerover", "focusin"]) addEventListener(way, (event) => { const mark = markOf(event); if (mark) show(mark); else hide(); });
addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
// To focus a mark is to scroll to it: the tip goes along.
addEventListener("scroll", () => { if (told && told === document.activeElement) show(told); else hide(); }, { capture: true, passive: true });
// One stop a plot for the keyboard; the arrow keys go from mark to mark.
for (const svg of document.querySelectorAll("figure svg")) {
  // A mark may be drawn of several parts that say the same.
  const marks = [...svg.querySelectorAll("[data-tip]")].filter((mark, index, all) => !index || mark.dataset.tip !== all[index - 1].dataset.tip);
  marks.forEach((mark, index) => {
    mark.setAttribute("tabindex", index ? "-1" : "0");
    mark.setAttribute("role", "img");
    mark.setAttribute("aria-label", mark.dataset.tip);
  });
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key], now = marks.indexOf(markOf(event));
    if (!step || now < 0) return;
    event.preventDefault();
    marks[(now + step + marks.length) % marks.length].focus();
  });
}

// Lets chosen arms stand out in every plot.
const chips = [...document.querySelectorAll(".chips button[data-arm]")];
for (const chip of chips) {
  chip.addEventListener("click", () => {
    const pressed = chip.getAttribute("aria-pressed") !== "true";
    for (const other of chips) if (other.dataset.arm === chip.dataset.arm) other.setAttribute("aria-pressed", pressed);
    const wanted = new Set(chips.filter((each) => each.getAttribute("aria-pressed") === "true").map((each) => each.dataset.arm));
    for (const mark of document.querySelectorAll("svg [data-arm]")) mark.classList.toggle("dim", wanted.size > 0 && !wanted.has(mark.dataset.arm));
  });
}

// Shows the questions that a chosen arm has right, another has wrong, of a specialty, or with a word in them.
const filter = document.getElementById("filter");
if (filter) {
  const flips = [...document.querySelectorAll("details.flip")];
  const texts = new Map(flips.map((flip) => [flip, flip.textContent.toLowerCase()]));
  const apply = () => {
    const { right, wrong, specialty, words } = filter.elements;
    const sought = words.value.trim().toLowerCase();
    let shown = 0;
    for (const flip of flips) {
      const fits = (!right.value || flip.dataset.right.split(" ").includes(right.value))
        && (!wrong.value || flip.dataset.wrong.split(" ").includes(wrong.value))
        && (!specialty.value || flip.dataset.specialty === specialty.value)
        && (!sought || texts.get(flip).includes(sought));
      flip.hidden = !fits;
      shown += fits;
    }
    filter.querySelector("output").textContent = `${shown} of ${flips.length} shown`;
  };
  filter.addEventListener("input", apply);
  filter.addEventListener("submit", (event) => event.preventDefault());
  filter.addEventListener("reset", () => setTimeout(apply));
  apply();
}

// Marks the section that is being read in the list of sections.
const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    for (const link of links.values()) link.removeAttribute("aria-current");
    links.get(entry.target.id).setAttribute("aria-current", "true");
  }
}, { rootMargin: "0px 0px -75% 0px" });
for (const section of document.querySelectorAll("main > section")) if (links.has(section.id)) seen.observe(section);

// On paper nothing can be unfolded.
addEventListener("beforeprint", () => { for (const each of document.querySelectorAll("details.more:not([open], .examples)")) { each.open = true; each.dataset.closed = ""; } });
addEventListener("afterprint", () => { for (const each of document.querySelectorAll("details.more[data-closed]")) { each.open = false; delete each.dataset.closed; } });
