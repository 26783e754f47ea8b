// What the page's views share: the model that is loaded, and how they are opened. A view's own code comes when it is first opened.
import type { Engine, Loading } from './loader.js';

/** What a view gets of the page. */
export interface Frame {
  /** The model that is loaded. */
  readonly engine: Engine | undefined;
  /** What the page calls it. */
  readonly modelName: string;
  /** How the last one was loaded. */
  readonly loading: Loading | undefined;
  /** The model; where none is loaded, the default one is. Undefined where that failed or was cancelled. */
  ready(): Promise<Engine | undefined>;
  /** Gives the model back and offers others. */
  changeModel(): Promise<void>;
}

/** A page beside the chat. */
export interface View {
  /** The rest of the address: of `#tasks/translate`, `translate`. */
  open(path: string): void;
  /** The model has come, gone or changed. */
  modelChanged(): void;
  /** Ends what runs; resolves when it has ended. Undefined where nothing ran. */
  stop(): Promise<void> | undefined;
  /** Files that were dropped or chosen; false where they are not for this view. */
  take(files: File[]): boolean;
  /** What the page says while files are held over it. */
  readonly dropHint: string;
}

/** Whether files are a model's, as far as their names tell. */
export const areModel = (names: readonly string[]): boolean =>
  names.some((name) => /\.(gguf|safetensors|jinja)$|(^|\/)(config|tokenizer|tokenizer_config)\.json$/i.test(name));
