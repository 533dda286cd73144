"use strict";

const cards = Array.from(document.querySelectorAll(".card"));
const filter = document.getElementById("filter");
const shown = document.getElementById("shown");
const opacity = document.getElementById("opacity");

function applyFilter() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const card of cards) {
    card.hidden = !words.every((word) => card.dataset.text.includes(word));
    count += card.hidden ? 0 : 1;
  }
  shown.textContent = `${count} of ${cards.length} samples`;
}

function applyOpacity() {
  document.documentElement.style.setProperty("--mask", opacity.value / 100);
}

if (filter) {
  filter.addEventListener("input", applyFilter);
  opacity.addEventListener("input", applyOpacity);
  applyFilter(); // a browser that comes back to the page may have kept what was typed
  applyOpacity();
}
