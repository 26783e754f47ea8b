// Copying to the clipboard.
import { el } from './dom.js';

/** A button that copies a text, and says whether it could. */
export function copyButton(text: () => string, label = 'Copy'): HTMLElement {
  const button = el('button', { type: 'button', class: 'quiet copy' }, label);
  button.addEventListener('click', async () => {
    let done = true;
    try {
      await navigator.clipboard.writeText(text());
    } catch {
      done = false; // refused, or there is no clipboard: the page came by plain HTTP
    }
    button.textContent = done ? 'Copied' : 'Copying was refused';
    setTimeout(() => (button.textContent = label), 1500);
  });
  return button;
}
