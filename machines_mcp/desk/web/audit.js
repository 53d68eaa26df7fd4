(() => {
  const two = (number) => String(number).padStart(2, "0");
  for (const one of document.querySelectorAll("time[datetime]")) {
    const at = new Date(one.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    one.title = `${one.textContent} UTC`;
    one.textContent = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ` +
      `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  }
  for (const one of document.querySelectorAll(".zone")) one.textContent = "(your time)";
})();
