// The errors that callers see. `KingletError.code` is stable and shared with the engine in Rust; misuse of the API is a
// TypeError or RangeError instead, and an abort rejects with the signal's own reason. Also: how an error crosses from a
// worker to the page (`toPlain`, `fromPlain`), since a class does not survive postMessage.

/** Every code a {@link KingletError} can carry. Stable: codes are added, never renamed. */
export type ErrorCode =
  | 'E_FILE_FORMAT'
  | 'E_FILE_LIMIT'
  | 'E_UNSUPPORTED_ARCH'
  | 'E_UNSUPPORTED_QUANT'
  | 'E_INTEGRITY'
  | 'E_NETWORK'
  | 'E_RANGE'
  | 'E_QUOTA'
  | 'E_MEMORY'
  | 'E_GPU_UNAVAILABLE'
  | 'E_GPU_LOST'
  | 'E_GPU_WRONG'
  | 'E_TEMPLATE'
  | 'E_SCHEMA'
  | 'E_CONTEXT_OVERFLOW'
  | 'E_UNSUPPORTED_FEATURE'
  | 'E_UNSUPPORTED_TASK'
  | 'E_CSP'
  | 'E_BUSY'
  | 'E_INTERNAL';

/** Numbers and names behind an error's message, such as `{ requestedTokens, availableTokens }` or `{ url, status }`. */
export type ErrorDetails = Readonly<Record<string, unknown>>;

/** Marks errors of every copy of {@link KingletError}: each bundle of the package (`kinglet`, `kinglet/eval` …) carries one. */
const MARK = Symbol.for('kinglet.KingletError');

/** What went wrong, with a stable `code`, a message for people, and the numbers behind it. */
export class KingletError extends Error {
  override readonly name = 'KingletError';
  /** Stable; test this, not the message. */
  readonly code: ErrorCode;
  /** Numbers and names behind the message; empty when there are none. */
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, options: { cause?: unknown; details?: ErrorDetails } = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : {});
    this.code = code;
    this.details = options.details ?? {};
  }

  static {
    Object.defineProperty(KingletError.prototype, MARK, { value: true });
  }

  /** Holds between the bundles of the package: what `kinglet/eval` throws is an instance of the class that `kinglet` exports. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    if (this !== KingletError) return super[Symbol.hasInstance](value);
    return typeof value === 'object' && value !== null && MARK in value;
  }
}

/** A documented feature that this build does not have. */
export function unsupported(what: string, details?: ErrorDetails): KingletError {
  return new KingletError('E_UNSUPPORTED_FEATURE', what, details ? { details } : {});
}

/** An error in the form that postMessage can carry. `code` is an ErrorCode, 'RangeError', 'TypeError' or 'AbortError'. */
export interface PlainError {
  code: string;
  message: string;
  details?: ErrorDetails;
  /** Text of the underlying error, where there was one. */
  cause?: string;
}

/** The plain form of anything thrown in a worker. Something without a code is a defect: E_INTERNAL, with its stack. */
export function toPlain(thrown: unknown): PlainError {
  if (thrown instanceof KingletError) {
    const plain: PlainError = { code: thrown.code, message: thrown.message, details: thrown.details };
    if (thrown.cause !== undefined) plain.cause = describe(thrown.cause);
    return plain;
  }
  if (isCoded(thrown)) return { code: thrown.code, message: thrown.message, details: plainDetails(thrown.details) };
  return {
    code: 'E_INTERNAL',
    message: `the engine's worker failed: ${describe(thrown)}`,
    cause: thrown instanceof Error ? (thrown.stack ?? '') : '',
  };
}

/** The error to give to a caller for one that came from a worker. */
export function fromPlain(plain: PlainError): Error {
  if (plain.code === 'RangeError') return new RangeError(plain.message);
  if (plain.code === 'TypeError') return new TypeError(plain.message);
  const options: { cause?: unknown; details?: ErrorDetails } = { details: plain.details ?? {} };
  if (plain.cause) options.cause = new Error(plain.cause);
  return new KingletError(plain.code as ErrorCode, plain.message, options);
}

/** One line about anything thrown. */
export function describe(thrown: unknown): string {
  return thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
}

/** An error that was raised on purpose, in Rust (a plain object) or here. */
export interface TypedError {
  code: string;
  message: string;
  details?: unknown;
}

/** Whether this came from the engine in Rust as a typed error rather than from a trap. */
export function isCoded(thrown: unknown): thrown is TypedError {
  if (typeof thrown !== 'object' || thrown === null || thrown instanceof DOMException) return false;
  const { code, message } = thrown as { code?: unknown; message?: unknown };
  return (
    typeof message === 'string' &&
    typeof code === 'string' &&
    (/^E_[A-Z_]+$/.test(code) || code === 'RangeError' || code === 'TypeError')
  );
}

/** Whether this is an error that was raised on purpose, in Rust or here. */
export function isTyped(thrown: unknown): thrown is TypedError {
  return thrown instanceof KingletError || isCoded(thrown);
}

function plainDetails(details: unknown): ErrorDetails {
  return typeof details === 'object' && details !== null ? { ...(details as ErrorDetails) } : {};
}
