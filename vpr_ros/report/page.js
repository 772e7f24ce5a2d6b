// Without this script the page tells the same; with it, maps zoom and pictures grow.
for (const map of document.querySelectorAll('svg.map')) {
  const whole = map.viewBox.baseVal, home = [whole.x, whole.y, whole.width, whole.height];
  let view = [...home], held = null;
  const show = () => map.setAttribute('viewBox', view.join(' '));
  const unit = () => view[2] / map.clientWidth;
  map.addEventListener('wheel', (event) => {
    if (!event.ctrlKey && !event.shiftKey && view[2] === home[2] && event.deltaY > 0) return;
    event.preventDefault();
    const box = map.getBoundingClientRect(), factor = Math.exp(Math.sign(event.deltaY) * 0.2);
    const width = Math.min(home[2], Math.max(home[2] / 60, view[2] * factor)), grown = width / view[2];
    const x = view[0] + (event.clientX - box.left) * unit(), y = view[1] + (event.clientY - box.top) * unit();
    view = width === home[2] ? [...home] : [x - (x - view[0]) * grown, y - (y - view[1]) * grown, width, view[3] * grown];
    show();
  }, { passive: false });
  map.addEventListener('pointerdown', (event) => { held = [event.clientX, event.clientY]; });
  addEventListener('pointerup', () => { held = null; });
  map.addEventListener('pointermove', (event) => {
    if (!held) return;
    view[0] -= (event.clientX - held[0]) * unit();
    view[1] -= (event.clientY - held[1]) * unit();
    held = [event.clientX, event.clientY];
    show();
  });
  map.addEventListener('dblclick', () => { view = [...home]; show(); });
}
document.addEventListener('click', (event) => {
  const large = document.querySelector('figure.large');
  if (large) large.classList.remove('large');
  else if (event.target.matches('figure img')) event.target.parentElement.classList.add('large');
});
