// Sorts and filters the table of all quantities.  Without it the table is whole, in the order of the claims.
"use strict";
for (const form of document.querySelectorAll("form.filters")) {
  const table = document.getElementById(form.dataset.for);
  const body = table.tBodies[0];
  const columns = [...table.tHead.rows[0].cells];
  const names = columns.map((cell) => cell.textContent.trim());
  const at = (name) => names.indexOf(name);
  const rows = [...body.rows].map((row, order) => ({
    row, order,
    part: row.cells[at("part")].textContent.trim(),
    verdict: row.cells[at("verdict")].textContent.trim(),
    text: (row.cells[at("claim")].textContent + " " + row.cells[at("quantity")].textContent).toLowerCase(),
    keys: [...row.cells].map((cell) => (cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value))),
  }));

  function filter() {
    const part = form.elements.part.value, verdict = form.elements.verdict.value;
    const words = form.elements.text.value.toLowerCase().split(/\s+/);
    let shown = 0;
    for (const one of rows) {
      const judged = !one.row.classList.contains("also");
      const fits = (part === "" || one.part === part)
        && (verdict === "" || (verdict === "judged" ? judged : one.verdict === verdict))
        && words.every((word) => one.text.includes(word));
      one.row.hidden = !fits;
      shown += fits;
    }
    form.querySelector("output").textContent = `${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")} shown`;
  }

  // Cells without a value stay behind all others, whichever way the table is sorted.
  function compare(x, y, sign) {
    if (x === "" || y === "") return (x === "") - (y === "");
    if (typeof x === "number" && typeof y === "number") return sign * (x - y);
    return sign * String(x).localeCompare(String(y), "en", { numeric: true });
  }

  function sort(column, sign) {
    rows.sort((a, b) => (sign && compare(a.keys[column], b.keys[column], sign)) || a.order - b.order);
    body.append(...rows.map((one) => one.row));
  }

  // The heads of the columns sort on a wide screen, a menu of the same on a narrow one, where heads do not show.
  const orders = [["in the order of the claims", 0, 0]];
  const menu = form.elements.sort;
  function show(order) {
    const [, column, sign] = orders[order];
    columns.forEach((cell, i) => {
      if (sign !== 0 && i === column) cell.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      else cell.removeAttribute("aria-sort");
    });
    menu.selectedIndex = order;
    sort(column, sign);
  }
  columns.forEach((cell, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...cell.childNodes);
    cell.append(button);
    const up = orders.push([`${names[column]} ↑`, column, 1], [`${names[column]} ↓`, column, -1]) - 2;
    button.addEventListener("click", () => show({ ascending: up + 1, descending: 0 }[cell.getAttribute("aria-sort")] ?? up));
  });
  menu.append(...orders.map(([name]) => new Option(name)));
  menu.addEventListener("input", () => show(menu.selectedIndex));
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  filter();
}
