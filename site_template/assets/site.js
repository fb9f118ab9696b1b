// Filter, sort and copy. The page is complete without this script, which fetches and stores nothing.
"use strict";

for (const button of document.querySelectorAll("button.copy")) {
  if (!navigator.clipboard) break;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "copied";
    setTimeout(() => (button.textContent = "copy"), 1500);
  });
}

for (const drawing of document.querySelectorAll("svg.timeline")) {
  const [start, end] = [drawing.dataset.start, drawing.dataset.end].map(Date.parse);
  const { width, height } = drawing.viewBox.baseVal;
  const at = Math.round(((Date.now() - start) / (end - start)) * width);
  // On a narrow screen, show the newest part first; the names of the lanes follow.
  const box = drawing.parentElement;
  const follow = () => {
    const x = Math.round((box.scrollLeft / box.scrollWidth) * width);
    for (const name of drawing.querySelectorAll(".lane")) name.setAttribute("x", x);
  };
  box.addEventListener("scroll", follow, { passive: true });
  box.scrollLeft = box.scrollWidth;
  follow();
  if (at < 0 || at > width) continue;
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("class", "now");
  line.setAttribute("d", `M${at} 16V${height}`);
  drawing.append(line);
}

for (const table of document.querySelectorAll("table.history")) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const input = document.querySelector(`[data-filter="${table.id}"]`);
  const count = document.querySelector(`[data-count="${table.id}"]`);
  const texts = rows.map((row) => row.textContent.toLowerCase());

  if (input && rows.length > 3) {
    input.closest(".filter").hidden = false;
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      rows.forEach((row, index) => {
        row.hidden = !words.every((word) => texts[index].includes(word));
        if (!row.hidden) shown += 1;
      });
      count.textContent = words.length ? `${shown} of ${rows.length}` : "";
    });
  }

  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = cell.textContent;
    cell.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = cell.getAttribute("aria-sort") !== "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", up ? "ascending" : "descending");
      const value = (row) => row.cells[column].textContent.trim();
      // Rows without a value come last in both orders.
      const order = (a, b) =>
        (value(a) === "") - (value(b) === "") || (up ? 1 : -1) * value(a).localeCompare(value(b), "en");
      body.append(...[...body.rows].sort(order));
    });
  });
}
