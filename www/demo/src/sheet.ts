// Dialogs of the page: opened by any button that names them in `data-sheet`, closed by their button, Escape, or a click beside them.
import { byId } from './dom.js';

/** `fill` is called when the sheet opens. */
export function wireSheet(id: string, fill?: () => void): void {
  const sheet = byId(id, HTMLDialogElement);
  for (const button of document.querySelectorAll(`[data-sheet="${id}"]`))
    button.addEventListener('click', () => {
      fill?.();
      sheet.showModal();
    });
  for (const button of sheet.querySelectorAll('.sheet-close')) button.addEventListener('click', () => sheet.close());
  sheet.addEventListener('click', ({ target }) => target === sheet && sheet.close());
}

export const isSheetOpen = (): boolean => document.querySelector('dialog[open]') !== null;
