// An answer token by token: each has the colour of its probability; what else the model could have said in its place is shown for the one
// that is pointed at or has the focus, and can be chosen to go on from there. Knows nothing of the engine.
import type { Alternative, Token } from './conversations/types.js';
import { el } from './dom.js';

/** Colours, from the likeliest: a token has the first whose bound its probability reaches. */
const BOUNDS = [0.9, 0.6, 0.3, 0.1, 0];
/** So that the pointer can go from a token to its alternatives. */
const HIDE_AFTER_MS = 200;

/** "93 %", "0.4 %", "< 0.1 %". */
export function percentOf(logprob: number): string {
  const percent = 100 * Math.exp(logprob);
  if (percent < 0.1) return '< 0.1 %';
  return `${percent < 9.95 ? percent.toFixed(1) : Math.round(percent)} %`;
}

/** Which of the five colours, 0 the likeliest. */
export const levelOf = (logprob: number): number => BOUNDS.findIndex((bound) => Math.exp(logprob) >= bound);

/** A token with its spaces and line ends to be seen. */
export const visible = (text: string): string =>
  text === '' ? '(nothing yet)' : text.replaceAll(' ', '␣').replaceAll('\n', '↵').replaceAll('\t', '⇥');

/** What the colours mean. */
export const legend = (): HTMLElement =>
  el(
    'p',
    { class: 'token-legend fine' },
    'Likely, in %:',
    ...BOUNDS.map((bound, level) => el('span', { class: `token level-${level}` }, `${Math.round(100 * bound)}+`)),
  );

type Branch = (index: number, chosen: Alternative) => void;

export class TokenView {
  readonly element = el('div', {
    class: 'answer-text tokens',
    role: 'group',
    'aria-label': 'The answer, token by token',
  });
  readonly #line = el('p', {});
  readonly #alternatives: Alternatives;
  #tokens: readonly Token[] = [];

  constructor(branch: Branch) {
    this.#alternatives = new Alternatives(branch);
    this.element.append(this.#line, this.#alternatives.element);
    this.#line.addEventListener('keydown', (event) => this.#key(event));
    for (const type of ['pointerover', 'focusin', 'click'])
      this.#line.addEventListener(type, ({ target }) => this.#point(target));
    for (const type of ['pointerleave', 'focusout'])
      this.element.addEventListener(type, () => this.#alternatives.leave());
  }

  /** Tokens are only ever added at the end, where the last one may still grow. */
  show(tokens: readonly Token[]): void {
    this.#tokens = tokens;
    const last = this.#spans.at(-1);
    const grown = tokens[this.#spans.length - 1];
    if (last && grown && last.textContent !== grown.text) last.textContent = grown.text;
    this.#line.append(...tokens.slice(this.#spans.length).map(tokenElement));
    const [first] = this.#spans;
    if (first && !this.#line.querySelector('[tabindex="0"]')) first.tabIndex = 0;
  }

  get #spans(): HTMLElement[] {
    return [...this.#line.children] as HTMLElement[];
  }

  #point(target: EventTarget | null): void {
    const span = target instanceof Element ? target.closest<HTMLElement>('.token') : null;
    const index = span ? this.#spans.indexOf(span) : -1;
    const token = this.#tokens[index];
    if (span && token) this.#alternatives.show(span, token, index);
  }

  /** One stop for Tab; the arrow keys go from token to token, and down to the alternatives. */
  #key(event: KeyboardEvent): void {
    const spans = this.#spans;
    const at = spans.indexOf(document.activeElement as HTMLElement);
    if (at < 0) return;
    if (event.key === 'Escape' && this.#alternatives.isOpen) {
      event.stopPropagation();
      return this.#alternatives.hide();
    }
    if (event.key === 'Enter' || event.key === ' ' || event.key === 'ArrowDown') {
      event.preventDefault();
      return this.#alternatives.focus();
    }
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: spans.length - 1 }[event.key];
    const next = to === undefined ? undefined : spans[to];
    if (to !== undefined) event.preventDefault();
    if (!next) return;
    for (const span of spans) span.tabIndex = span === next ? 0 : -1;
    next.focus();
  }
}

function tokenElement({ text, logprob }: Token): HTMLElement {
  const known = logprob === undefined ? '' : `, ${percentOf(logprob)}`;
  return el(
    'span',
    {
      class: logprob === undefined ? 'token' : `token level-${levelOf(logprob)}`,
      role: 'button',
      tabindex: -1,
      'aria-label': `${text.trim() || visible(text)}${known}`,
    },
    text,
  );
}

/** What the model could have said in the place of a token, at that token. */
class Alternatives {
  readonly element = el('div', { class: 'alternatives', role: 'group', popover: 'manual' });
  readonly #branch: Branch;
  #at: HTMLElement | undefined;
  #timer = 0;

  constructor(branch: Branch) {
    this.#branch = branch;
    this.element.addEventListener('keydown', (event) => this.#key(event));
    for (const type of ['pointerenter', 'focusin'])
      this.element.addEventListener(type, () => clearTimeout(this.#timer));
    document.addEventListener('scroll', () => this.hide(), true);
  }

  get isOpen(): boolean {
    return this.#at !== undefined;
  }

  show(span: HTMLElement, token: Token, index: number): void {
    clearTimeout(this.#timer);
    if (this.#at === span) return;
    this.#at?.classList.remove('pointed');
    this.#at = span;
    span.classList.add('pointed');
    this.element.setAttribute('aria-label', `In the place of “${token.text.trim() || visible(token.text)}”`);
    this.element.replaceChildren(...this.#rows(token, index));
    this.element.showPopover();
    const { left, bottom, top } = span.getClientRects()[0] ?? span.getBoundingClientRect();
    const { offsetWidth, offsetHeight } = this.element;
    const isBelow = bottom + offsetHeight + 8 < innerHeight;
    this.element.style.left = `${Math.max(8, Math.min(left, innerWidth - offsetWidth - 8))}px`;
    this.element.style.top = `${isBelow ? bottom : Math.max(8, top - offsetHeight)}px`;
  }

  #rows({ id, text, logprob, top = [] }: Token, index: number): HTMLElement[] {
    if (logprob === undefined) return [el('p', { class: 'fine' }, 'The probabilities of this token were not kept.')];
    const isSaid = (one: Alternative): boolean => (one.id === undefined ? one.text === text : one.id === id);
    const rows = [...top, ...(top.some(isSaid) ? [] : [{ id, text, logprob }])].map((one) => {
      const bar = el('span', { class: 'bar', 'aria-hidden': 'true' });
      bar.style.setProperty('--part', String(Math.exp(one.logprob)));
      const parts = [
        el('span', { class: 'word' }, visible(one.text)),
        el(
          'span',
          { class: 'id', title: 'The token’s number in the vocabulary' },
          one.id === undefined ? '' : `#${one.id}`,
        ),
        el('span', { class: 'figures' }, percentOf(one.logprob)),
        bar,
      ];
      if (isSaid(one)) return el('p', { class: 'row-said' }, ...parts);
      const choose = (): void => {
        this.hide();
        this.#branch(index, one);
      };
      const purpose = el('span', { class: 'sr-only' }, 'go on with this');
      return el('button', { type: 'button', onclick: choose }, ...parts, purpose);
    });
    return [...rows, el('p', { class: 'fine' }, 'Choose one, and the model goes on from there.')];
  }

  focus(): void {
    this.#buttons[0]?.focus();
  }

  /** The pointer or the focus has gone; it may be on its way here. */
  leave(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (this.element.matches(':hover') || this.element.contains(document.activeElement)) return;
      if (this.#at?.matches(':hover, :focus')) return;
      this.hide();
    }, HIDE_AFTER_MS);
  }

  hide(): void {
    clearTimeout(this.#timer);
    if (!this.#at) return;
    this.#at.classList.remove('pointed');
    this.#at = undefined;
    if (this.element.matches(':popover-open')) this.element.hidePopover();
  }

  get #buttons(): HTMLElement[] {
    return [...this.element.querySelectorAll('button')];
  }

  #key(event: KeyboardEvent): void {
    const buttons = this.#buttons;
    const at = buttons.indexOf(document.activeElement as HTMLButtonElement);
    const token = this.#at;
    if (event.key === 'Escape' || (event.key === 'ArrowUp' && at === 0)) {
      event.stopPropagation();
      event.preventDefault();
      token?.focus();
      if (event.key === 'Escape') this.hide();
    } else if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault();
      buttons[at + (event.key === 'ArrowDown' ? 1 : -1)]?.focus();
    }
  }
}
