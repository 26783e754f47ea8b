// What a page is told about the chat template: whose it is, as far as its hash is known (known-templates.ts), and what a careful
// user would want to know. A template can put words into every conversation that nobody sees. Called by index.ts.

import { KNOWN_TEMPLATES } from './known-templates.js';
import type { TemplateKind } from './templates.js';
import type { Info } from './types.js';

/** Bytes of a hash in the table, and the characters that they take. */
const HASH_BYTES = 12;
const HASH_CHARS = 16;

export function describeTemplate(
  kind: TemplateKind,
  sha256: { whole: string; trimmed: string } | undefined,
  model: { architecture: string; name: string },
): Pick<Info, 'template' | 'notices'> {
  if (kind !== 'file' || !sha256) {
    const used =
      kind === 'chatml'
        ? 'messages are written in ChatML, whose marks the vocabulary has'
        : 'messages are written as a plain transcript; this may be a base model, which was not trained to chat';
    return { template: { source: 'default', known: false }, notices: [used] };
  }
  const { name, architectures = '', word = '' } = find(sha256.trimmed) ?? {};
  const known =
    name !== undefined &&
    (architectures === '' || architectures.split(' ').includes(model.architecture)) &&
    model.name.toLowerCase().includes(word);
  const template: Info['template'] = { source: 'file', sha256: sha256.whole, known };
  if (name !== undefined) template.name = name;
  if (known) return { template, notices: [] };
  const whose =
    name === undefined ? 'is not one that is known' : `is that of ${name}, not one that is known for this model`;
  return { template, notices: [`the chat template ${whose}: it may tell the model things that you do not see`] };
}

/** Whose the template with this hash (hexadecimal digits) is. */
export function find(sha256: string): { name: string; architectures: string; word: string } | undefined {
  const bytes = Array.from({ length: HASH_BYTES }, (_, i) => parseInt(sha256.slice(2 * i, 2 * i + 2), 16));
  const hash = btoa(String.fromCharCode(...bytes));
  let [architectures, word] = ['', ''];
  for (const line of KNOWN_TEMPLATES.split('\n')) {
    if (line[0] === '=') [architectures = '', word = ''] = line.slice(1).split(',');
    else if (line.startsWith(hash)) return { name: line.slice(HASH_CHARS), architectures, word };
  }
  return undefined;
}
