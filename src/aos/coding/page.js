for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = row => row.cells[column].dataset.v ?? row.cells[column].textContent;
    const number = head.classList.contains("n");
    const rows = [...table.tBodies[0].rows].sort((a, b) =>
      number ? value(a) - value(b) : value(a).localeCompare(value(b)));
    table.tBodies[0].append(...(up ? rows : rows.reverse()));
  }));
}
const filter = document.getElementById("filter");
filter?.addEventListener("input", () => {
  for (const row of document.querySelectorAll("#files tbody tr"))
    row.hidden = !row.textContent.toLowerCase().includes(filter.value.toLowerCase());
});
