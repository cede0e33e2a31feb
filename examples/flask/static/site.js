// Shows the time in the reader's own words, once a second.
function showTime() {
  const now = new Date();
  const element = document.getElementById("now");
  element.textContent = now.toLocaleTimeString();
  element.dateTime = now.toISOString();
}

showTime();
setInterval(showTime, 1000);
