// The demo page.
document.title = 'kinglet';
