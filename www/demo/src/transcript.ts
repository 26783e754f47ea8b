// The conversation as it is seen: one list item per message, with what can be done to it. Knows nothing of the engine.
import type { Alternative, Message, Token } from './conversations/types.js';
import { copyButton } from './copy.js';
import { el } from './dom.js';
import { MarkdownView } from './render.js';
import { TokenView } from './tokens.js';
import type { PlainError } from './words.js';

/** A message of the branch that is shown; `place` of `of` versions, from 1. */
export interface Shown {
  message: Message;
  place: number;
  of: number;
  /** Nothing follows it. */
  isLast: boolean;
  /** With an answer that is shown token by token. */
  tokens?: readonly Token[];
}

/** What can be done to a message. */
export interface Actions {
  /** False where there is no model to answer it. */
  edit(id: string, text: string): boolean;
  /** Answers a question that has no answer. */
  answer(id: string): void;
  regenerate(id: string): void;
  goOn(id: string): void;
  /** Shows the version before or after this one. */
  turn(id: string, by: -1 | 1): void;
  /** Shows an answer token by token, or as text again. */
  toggleTokens(id: string): void;
  /** Goes on from another token in the place of this one: another branch. */
  branch(id: string, index: number, chosen: Alternative): void;
}

type View = UserView | AnswerView;

export class Transcript {
  readonly #list: HTMLElement;
  readonly #scroller: HTMLElement;
  readonly #actions: Actions;
  #views = new Map<string, View>();

  constructor(list: HTMLElement, scroller: HTMLElement, actions: Actions) {
    this.#list = list;
    this.#scroller = scroller;
    this.#actions = actions;
  }

  /** Shows these messages in place of what is shown; those that are there already stay as they are. */
  show(path: readonly Shown[]): void {
    const views = new Map<string, View>();
    for (const shown of path) {
      const { message } = shown;
      const view = this.#views.get(message.id) ?? this.#make(message);
      view.set(shown);
      views.set(message.id, view);
    }
    this.#views = views;
    const wanted = [...views.values()].map(({ element }) => element);
    for (const element of [...this.#list.children]) if (!wanted.includes(element as HTMLElement)) element.remove();
    wanted.forEach((element, i) => {
      if (this.#list.children[i] !== element) this.#list.insertBefore(element, this.#list.children[i] ?? null);
    });
  }

  answer(id: string): AnswerView | undefined {
    const view = this.#views.get(id);
    return view instanceof AnswerView ? view : undefined;
  }

  /** Puts the focus on the same button of another version. */
  focusTurn(id: string, by: -1 | 1): void {
    this.#views.get(id)?.focusTurn(by);
  }

  #make(message: Message): View {
    return message.role === 'user'
      ? new UserView(message, this.#actions)
      : new AnswerView(message, this, this.#actions);
  }

  scrollDown(): void {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  /** Runs a change and stays at the end if the reader was there; who has scrolled up to read is left alone. */
  keepingPlace(change: () => void): void {
    const { scrollTop, clientHeight, scrollHeight } = this.#scroller;
    const atEnd = scrollHeight - scrollTop - clientHeight < 60;
    change();
    if (atEnd) this.scrollDown();
  }
}

/** ‹ 2 / 3 ›: which version of a message is shown. Hidden while there is one. */
class Versions {
  readonly element = el('span', { class: 'versions', role: 'group', hidden: true });
  readonly #count = el('span', { class: 'count' });
  readonly #buttons: Record<-1 | 1, HTMLButtonElement>;

  constructor(turn: (by: -1 | 1) => void) {
    const button = (by: -1 | 1, sign: string, name: string): HTMLButtonElement =>
      el('button', { type: 'button', class: 'quiet', 'aria-label': name, onclick: () => turn(by) }, sign);
    this.#buttons = { [-1]: button(-1, '‹', 'Version before'), 1: button(1, '›', 'Version after') };
    this.element.append(this.#buttons[-1], this.#count, this.#buttons[1]);
  }

  show({ place, of }: Shown): void {
    this.element.hidden = of < 2;
    this.#count.textContent = `${place} / ${of}`;
    this.element.setAttribute('aria-label', `Version ${place} of ${of}`);
    this.#buttons[-1].disabled = place === 1;
    this.#buttons[1].disabled = place === of;
  }

  focus(by: -1 | 1): void {
    const { [by]: button } = this.#buttons;
    (button.disabled ? this.#buttons[by === 1 ? -1 : 1] : button).focus();
  }
}

/** What the visitor wrote. It can be edited: what comes of it is another branch. */
class UserView {
  readonly element: HTMLElement;
  readonly #message: Message;
  readonly #actions: Actions;
  readonly #versions: Versions;
  readonly #said: HTMLElement;
  readonly #foot: HTMLElement;
  readonly #edit = el('button', { type: 'button', class: 'quiet needs-model edit' }, 'Edit');
  readonly #answer = el('button', { type: 'button', class: 'quiet needs-model' }, 'Answer');

  constructor(message: Message, actions: Actions) {
    this.#message = message;
    this.#actions = actions;
    this.#versions = new Versions((by) => actions.turn(message.id, by));
    this.#said = el('p', { class: 'said' }, message.text);
    this.#edit.addEventListener('click', () => this.#open());
    this.#foot = el(
      'div',
      { class: 'foot' },
      this.#versions.element,
      copyButton(() => message.text),
      this.#edit,
      this.#answer,
    );
    this.#answer.addEventListener('click', () => actions.answer(message.id));
    this.element = el('li', { class: 'user' }, el('h2', { class: 'sr-only' }, 'You'), this.#said, this.#foot);
  }

  set(shown: Shown): void {
    this.#versions.show(shown);
    this.#answer.hidden = !shown.isLast;
  }

  focusTurn(by: -1 | 1): void {
    this.#versions.focus(by);
  }

  #open(): void {
    const field = el('textarea', { 'aria-label': 'Edit your message', rows: 1, autocomplete: 'off' });
    field.value = this.#message.text;
    const form = el(
      'form',
      { class: 'editing' },
      field,
      el(
        'p',
        { class: 'row' },
        el('button', { type: 'submit', class: 'primary needs-model' }, 'Send'),
        el('button', { type: 'button', onclick: () => this.#close(form) }, 'Cancel'),
      ),
    );
    const fit = (): void => {
      field.style.height = 'auto';
      field.style.height = `${field.scrollHeight + 2}px`;
    };
    field.addEventListener('input', fit);
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      const text = field.value.trim();
      if (text !== '' && this.#actions.edit(this.#message.id, text)) this.#close(form);
    });
    form.addEventListener('keydown', (event) => {
      if (event.isComposing) return;
      if (event.key === 'Escape') {
        event.stopPropagation(); // it does not stop an answer as well
        this.#close(form);
      } else if (event.key === 'Enter' && !event.shiftKey && event.target === field) {
        event.preventDefault();
        form.requestSubmit();
      }
    });
    this.#said.hidden = this.#foot.hidden = true;
    this.element.append(form);
    fit();
    field.focus();
  }

  #close(form: HTMLElement): void {
    form.remove();
    this.#said.hidden = this.#foot.hidden = false;
    this.#edit.focus();
  }
}

/** One answer: text that grows at most once per frame, then figures and actions. */
export class AnswerView {
  readonly element: HTMLElement;
  readonly #message: Message;
  readonly #transcript: Transcript;
  readonly #actions: Actions;
  readonly #body = el('div', { class: 'answer-text' });
  readonly #foot = el('div', { class: 'foot' });
  readonly #view = new MarkdownView(this.#body);
  readonly #versions: Versions;
  readonly #toggle: HTMLElement;
  #tokens: readonly Token[] | undefined;
  #tokenView: TokenView | undefined;
  #frame = 0;

  constructor(message: Message, transcript: Transcript, actions: Actions) {
    this.#message = message;
    this.#transcript = transcript;
    this.#actions = actions;
    this.#versions = new Versions((by) => actions.turn(message.id, by));
    this.#toggle = this.#button('Probabilities', 'probabilities', () => actions.toggleTokens(message.id));
    this.element = el('li', { class: 'answer' }, el('h2', { class: 'sr-only' }, 'Model'), this.#body, this.#foot);
    this.#view.show(message.text);
    this.finish();
  }

  set(shown: Shown): void {
    this.#versions.show(shown);
    const { tokens } = shown;
    this.#tokens = tokens;
    this.#toggle.setAttribute('aria-pressed', String(tokens !== undefined));
    if (!tokens) this.#tokenView = undefined;
    else this.#tokenView ??= new TokenView((index, chosen) => this.#actions.branch(this.#message.id, index, chosen));
    const body = this.#tokenView?.element ?? this.#body;
    const old = body === this.#body ? this.element.querySelector('.tokens') : this.#body;
    if (!body.isConnected || !this.element.contains(body)) old?.replaceWith(body);
    this.#draw();
  }

  focusTurn(by: -1 | 1): void {
    this.#versions.focus(by);
  }

  /** The model is at work on it. */
  begin(): void {
    this.element.setAttribute('aria-busy', 'true');
    this.element.querySelector('.error')?.remove();
    this.#foot.replaceChildren(el('span', { class: 'thinking' }, 'Reading'));
  }

  /** The message has grown. */
  grown(): void {
    if (this.#message.text) this.#foot.querySelector('.thinking')?.remove();
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  /** The answer is complete, or was stopped: shows the figures and the actions. */
  finish(): void {
    cancelAnimationFrame(this.#frame);
    this.#draw();
    this.element.removeAttribute('aria-busy');
    const { id, text, answer } = this.#message;
    const isCut = text !== '' && answer !== undefined && answer.end !== 'stop';
    this.#transcript.keepingPlace(() => {
      this.element.querySelector('.error')?.remove();
      if (answer?.error) this.element.insertBefore(errorBox(answer.error), this.#foot);
      this.#foot.replaceChildren(
        el('span', { class: 'figures' }, answer?.figures ?? ''),
        this.#versions.element,
        ...(isCut ? [this.#button('Continue', 'go-on', () => this.#actions.goOn(id))] : []),
        ...(text ? [copyButton(() => this.#message.text), this.#toggle] : []),
        this.#button('Regenerate', 'regenerate', () => this.#actions.regenerate(id)),
      );
    });
  }

  /** Something went wrong with it that does not concern the answer itself. */
  fail(error: PlainError): void {
    this.element.querySelector('.error')?.remove();
    this.#transcript.keepingPlace(() => this.element.insertBefore(errorBox(error), this.#foot));
  }

  #button(label: string, name: string, onclick: () => void): HTMLElement {
    return el('button', { type: 'button', class: `quiet needs-model ${name}`, onclick }, label);
  }

  #draw(): void {
    this.#frame = 0;
    this.#transcript.keepingPlace(() => {
      if (this.#tokenView && this.#tokens) this.#tokenView.show(this.#tokens);
      else this.#view.show(this.#message.text);
    });
  }
}

/** An error in plain words, its code beside it, the engine's own words behind a disclosure. */
export function errorBox({ text, code, detail }: PlainError): HTMLElement {
  return el(
    'div',
    { class: 'error' },
    el('p', {}, text, ' ', el('code', {}, code)),
    el('details', {}, el('summary', {}, 'Details'), el('p', { class: 'fine' }, detail)),
  );
}
