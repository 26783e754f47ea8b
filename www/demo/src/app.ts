// The demo page: puts the parts together and listens to the visitor. The model is loaded by loader.ts, the conversation is in chat.ts,
// the pages beside it are opened by views.ts; all use the npm package `kinglet` as any other page would.
import { Chat } from './chat.js';
import { ConversationList } from './conversations/list.js';
import { ConversationStore } from './conversations/store.js';
import { copyButton } from './copy.js';
import { DeviceChoice } from './device.js';
import { byId, el } from './dom.js';
import { filesIn } from './dropped.js';
import { machineLine, noticeOf, showFacts, showNotes, silence } from './facts.js';
import { areModel } from './frame.js';
import { Figures } from './figures.js';
import { canGoOn } from './generation.js';
import { HistoryPanel } from './history.js';
import { DEFAULT_MODEL, type Engine, Loader, type Offer, type State } from './loader.js';
import { RecentModels } from './recent.js';
import { SamplingControls } from './settings.js';
import { legend } from './tokens.js';
import { isSheetOpen, wireSheet } from './sheet.js';
import { Transcript } from './transcript.js';
import { Views } from './views.js';
import { modelName, plainError, processor } from './words.js';

const SUGGESTIONS = [
  'What is the capital of France, and what is it known for?',
  'Write a short poem about a very small bird.',
  'Give me three ideas for a rainy afternoon.',
];

const DROP_HINT = 'Drop the GGUF file, all its parts, or a checkpoint, to run it here';

const message = byId('message', HTMLTextAreaElement);
const sendButton = byId('send', HTMLButtonElement);
const stopButton = byId('stop', HTMLButtonElement);
const panel = byId('panel', HTMLElement);
const panelToggle = byId('panel-toggle', HTMLButtonElement);
const system = byId('system', HTMLTextAreaElement);

const device = new DeviceChoice();
const sampling = new SamplingControls(byId('sampling', HTMLElement), { key: 'kinglet.sampling' });
const transcript = new Transcript(byId('transcript', HTMLElement), byId('scroller', HTMLElement), {
  edit(id, text) {
    if (!loader.engine) byId('announce', HTMLElement).textContent = 'Load a model first.';
    else void chat.edit(id, text);
    return loader.engine !== undefined;
  },
  answer: (id) => void chat.answer(id),
  regenerate: (id) => void chat.regenerate(id),
  goOn: (id) => void chat.goOn(id),
  turn: (id, by) => void chat.turn(id, by),
  toggleTokens: (id) => void chat.toggleTokens(id),
  branch: (id, index, chosen) => void chat.branch(id, index, chosen),
});
const figures = new Figures();
const loader = new Loader(showState);
const store = new ConversationStore();
const chat = new Chat({
  transcript,
  store,
  engine: () => loader.engine,
  modelName: () => loader.name,
  sampling: () => sampling.values(),
  probabilities: () => byId('probabilities', HTMLInputElement).checked,
  system,
  busy: showBusy,
  figures: (run) => figures.run(run),
  context: (tokens) => figures.context(tokens, loader.engine?.info.contextLength ?? 0),
  changed: showChatting,
  notKept: (error) => showNotKept(`This could not be kept in the browser: ${plainError(error).detail}.`),
});
const list = new ConversationList({
  store,
  current: () => chat.id,
  settle: async (id) => {
    if (id === chat.id) await chat.stop();
  },
  renamed: (id, title) => {
    if (id !== chat.id) return;
    chat.rename(title);
    showChatting();
  },
  deleted: (id) => {
    if (id === chat.id) void chat.reset();
  },
  open: (id) => void openChat(id),
});
const recent = new RecentModels((model) => void loadUrl(model));
const historyPanel = new HistoryPanel();
const views = new Views(
  {
    get engine() {
      return loader.engine;
    },
    get modelName() {
      return loader.name;
    },
    get loading() {
      return loader.loading;
    },
    ready,
    changeModel,
  },
  openChat,
);

/** The state of the page is one attribute; the style sheet shows and hides by it. */
function showState(state: State): void {
  document.body.dataset.state = state;
  const info = loader.engine?.info;
  byId('loaded-name', HTMLElement).textContent = info
    ? `${loader.name} · ${info.quantization} · ${processor(info)}`
    : '';
  const notice = byId('notice', HTMLElement);
  notice.textContent = info ? noticeOf(info) : '';
  notice.hidden = notice.textContent === '';
  showNotes(byId('notes', HTMLElement), info);
  if (info) {
    showFacts(byId('facts', HTMLElement), byId('reason', HTMLElement), info);
    figures.model(info);
  }
  if (state !== 'ready') showPanel(false);
  if (state === 'ready') chat.modelChanged();
  const why = info && silence(info);
  document.body.toggleAttribute('data-silent', why !== undefined);
  document.body.toggleAttribute('data-begins-anew', info !== undefined && !canGoOn(info));
  byId('silent', HTMLElement).hidden = why === undefined;
  byId('silent-why', HTMLElement).textContent = why ?? '';
  showChatting();
  views.modelChanged();
}

function showBusy(isBusy: boolean): void {
  document.body.toggleAttribute('data-busy', isBusy);
  const { activeElement } = document;
  // Regenerate and its like are hidden while the model is at work.
  const hadFocus =
    activeElement === sendButton ||
    activeElement === stopButton ||
    (isBusy && activeElement?.closest('.foot') !== null);
  if (!isBusy) byId('speed', HTMLElement).textContent = '';
  sendButton.hidden = isBusy;
  stopButton.hidden = !isBusy;
  if (hadFocus) (isBusy ? stopButton : message).focus();
  showChatting();
}

function showChatting(): void {
  document.body.toggleAttribute('data-chatting', !chat.isEmpty);
  const title = byId('chat-title', HTMLElement);
  title.hidden = chat.isEmpty;
  title.textContent = chat.title;
  views.chatChanged(chat.id, chat.title);
  void list.refresh();
}

function showNotKept(text: string): void {
  byId('not-kept', HTMLElement).textContent =
    `${text} To have a conversation later, save it to a file: Conversations, ⋯.`;
}

/** The conversation with this id, or with '' a new one. */
async function openChat(id: string): Promise<void> {
  if (id === chat.id) return;
  if (id === '') await chat.reset();
  else if (await chat.open(id)) historyPanel.close();
  else {
    await chat.reset();
    byId('announce', HTMLElement).textContent = 'That conversation is not in this browser.';
  }
}

function showPanel(isOpen: boolean): void {
  panel.toggleAttribute('data-open', isOpen);
  panelToggle.setAttribute('aria-expanded', String(isOpen));
}

async function load(offer: Omit<Offer, 'device'>): Promise<boolean> {
  await Promise.all([chat.stop(), views.stop()]);
  const ready = await loader.load({ ...offer, device: device.value });
  if (ready) focusContent();
  return ready;
}

/** The card has gone with what had the focus on it; who is elsewhere by now is left alone. */
function focusContent(): void {
  const { activeElement } = document;
  if (views.isChat && message.offsetParent) message.focus();
  else if (!activeElement || activeElement === document.body || !(activeElement as HTMLElement).offsetParent)
    views.focus();
}

/** The model; where none is loaded, the default one is loaded first. */
async function ready(): Promise<Engine | undefined> {
  if (!loader.engine && !loader.isLoading) await loadDefault();
  return loader.engine;
}

const loadDefault = (): Promise<boolean> =>
  load({ name: DEFAULT_MODEL.name, source: DEFAULT_MODEL.url, sha256: DEFAULT_MODEL.sha256 });

async function loadUrl({ name, url }: { name: string; url: string }): Promise<void> {
  if (await load({ name, source: url })) recent.add({ name, url });
}

/** One file, all parts of a model, a model and its tokenizer.json, or a checkpoint. */
async function loadFiles(files: File[]): Promise<void> {
  const [first] = files;
  if (first) await load({ name: modelName(files.map((file) => file.name)), source: files.length > 1 ? files : first });
}

/** A whole folder, such as a checkpoint's: its files by their paths. */
async function loadFolder(folders: FileSystemEntry[]): Promise<void> {
  const files = Object.fromEntries(
    (await filesIn(folders)).map(([path, file]) => [path.replace(/^\//, ''), file] as const),
  );
  await load({ name: modelName(Object.keys(files)), source: { files } });
}

/** Sends what is in the field. The first message loads the default model if none is loaded. */
async function send(): Promise<void> {
  const text = message.value.trim();
  if (text === '' || chat.isBusy || loader.isLoading) return;
  if (!loader.engine && !(await loadDefault())) return;
  if (document.body.hasAttribute('data-silent')) return;
  message.value = '';
  fitMessage();
  chat.send(text);
}

async function newChat(): Promise<void> {
  if (chat.id) history.pushState(null, '', '#chat'); // so that Back leads to the conversation before
  await chat.reset();
  historyPanel.close();
  message.focus();
}

/** Back to the first screen: the engine is closed and its memory given back. */
async function changeModel(): Promise<void> {
  await Promise.all([chat.stop(), views.stop()]);
  await loader.unload();
  loader.showOffer();
  byId('other-models', HTMLDetailsElement).open = true;
  byId('model-url', HTMLInputElement).focus();
}

/** The field grows with its text, up to the limit that the style sheet sets. */
function fitMessage(): void {
  message.style.height = 'auto';
  message.style.height = `${message.scrollHeight}px`;
}

function wireComposer(): void {
  byId('composer', HTMLFormElement).addEventListener('submit', (event) => {
    event.preventDefault();
    void send();
  });
  message.addEventListener('input', fitMessage);
  message.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    void send();
  });
  stopButton.addEventListener('click', () => void chat.stop());
  byId('new-chat', HTMLButtonElement).addEventListener('click', () => void newChat());
  byId('suggestions', HTMLElement).append(
    ...SUGGESTIONS.map((text) =>
      el('button', { type: 'button', onclick: () => ((message.value = text), void send()) }, text),
    ),
  );
  document.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || event.isComposing || isSheetOpen()) return;
    if (panel.hasAttribute('data-open')) closePanel();
    else if (loader.isLoading) loader.cancel();
    else if (historyPanel.isOver) historyPanel.close();
    else if (views.isChat) void chat.stop();
    else void views.current?.stop();
  });
}

function closePanel(): void {
  showPanel(false);
  panelToggle.focus();
}

function wireModels(): void {
  byId('load-default', HTMLButtonElement).addEventListener('click', () => void loadDefault());
  const url = byId('model-url', HTMLInputElement);
  byId('url-form', HTMLFormElement).addEventListener('submit', (event) => {
    event.preventDefault();
    const name = modelName([url.value.split(/[?#]/)[0] ?? ''])
      .split('/')
      .at(-1);
    void loadUrl({ name: name || url.value, url: url.value });
  });
  const file = byId('model-file', HTMLInputElement);
  byId('pick-file', HTMLButtonElement).addEventListener('click', () => file.click());
  file.addEventListener('change', () => {
    void loadFiles([...(file.files ?? [])]);
    file.value = ''; // so that the same choice is a change again
  });
  for (const id of ['change-model', 'silent-change'])
    byId(id, HTMLButtonElement).addEventListener('click', () => void changeModel());
}

function wirePanel(): void {
  panelToggle.addEventListener('click', () => {
    showPanel(!panel.hasAttribute('data-open'));
    if (panel.hasAttribute('data-open')) byId('panel-close', HTMLButtonElement).focus();
  });
  byId('panel-close', HTMLButtonElement).addEventListener('click', closePanel);
  byId('reset-sampling', HTMLButtonElement).addEventListener('click', () => sampling.reset());
}

/** What a bug report needs; made when it is opened. */
async function showDiagnostics(): Promise<void> {
  const text = byId('diagnostics-text', HTMLElement);
  text.textContent = 'Reading…';
  const { report } = await import('./diagnostics.js');
  text.textContent = await report({
    info: loader.engine?.info,
    name: loader.name,
    loading: loader.loading,
    ...chat.lastAnswer,
    storage: await store.opened,
  });
}

function wireSheets(): void {
  wireSheet('privacy');
  wireSheet('diagnostics', () => void showDiagnostics());
  // Fenced, so that a report in Markdown keeps its lines.
  const copy = copyButton(() => `\`\`\`text\n${byId('diagnostics-text', HTMLElement).textContent}\n\`\`\``);
  copy.className = 'primary';
  byId('diagnostics-copy', HTMLElement).append(copy);
}

/** Files may be dropped anywhere; the hint is shown while they are held over the page. */
function wireDrop(): void {
  const hint = byId('drop-hint', HTMLElement);
  const holdsFiles = (event: DragEvent): boolean => event.dataTransfer?.types.includes('Files') ?? false;
  document.addEventListener('dragover', (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    hint.textContent = views.current?.dropHint ?? DROP_HINT;
    hint.hidden = false;
  });
  document.addEventListener('dragleave', (event) => {
    if (event.relatedTarget === null) hint.hidden = true;
  });
  document.addEventListener('drop', (event) => {
    hint.hidden = true;
    if (!holdsFiles(event)) return;
    event.preventDefault();
    const entries = [...(event.dataTransfer?.items ?? [])].map((item) => item.webkitGetAsEntry());
    const folders = entries.filter((entry) => entry?.isDirectory === true) as FileSystemEntry[];
    const files = [...(event.dataTransfer?.files ?? [])];
    if (folders.length > 0) void loadFolder(folders);
    else if (views.isChat && areConversations(files)) void list.import(files);
    else if (areModel(files.map(({ name }) => name)) || !views.current?.take(files)) void loadFiles(files);
  });
}

/** In the chat a JSON file that belongs to no model is one of conversations. */
const areConversations = (files: readonly File[]): boolean =>
  files.length > 0 && files.every(({ name }) => name.endsWith('.json')) && !areModel(files.map(({ name }) => name));

async function begin(): Promise<void> {
  store.onChange(() => void chat.keptChanged());
  const { isKept } = await store.opened;
  if (!isKept)
    showNotKept(
      'This browser keeps nothing for this page, as in a private window: conversations last until the tab is closed.',
    );
  historyPanel.begin((await list.refresh()) > 0);
}

byId('probabilities-legend', HTMLElement).append(legend());
byId('machine', HTMLElement).textContent = machineLine();
wireComposer();
wireModels();
wirePanel();
wireSheets();
wireDrop();
showState('empty');
void begin();
