// What Hugging Face's transformers and Jinja2 gave, noted by tests/golden/make_templates.py.

import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import type { ChatMessage } from '../src/types.js';

/** The repository, from test/build/test. */
export const ROOT = new URL('../../../../../', import.meta.url);

export type Result = string | { error: string; raised?: true };

interface Golden {
  made_by: string;
  now: string;
  tokens: Record<string, string>;
  special: string[];
  hostile: string;
  conversations: Record<string, { messages: ChatMessage[]; tools: unknown[] | null }>;
  cases: { name: string; conversation: string; prompt: boolean; variables: Record<string, unknown> }[];
  /** `results`: places in `outputs`, one for each case. */
  templates: Record<string, { sha256: string; results: number[] }>;
  outputs: Result[];
  variables: Record<string, unknown>;
  expressions: [source: string, result: Result][];
}

export const golden = JSON.parse(
  gunzipSync(readFileSync(new URL('tests/golden/templates.json.gz', ROOT))).toString(),
) as Golden;
