// What a page is told about the chat template: whose it is, as far as its hash is known (known-templates.ts), and what a careful
// user would want to know. A template can put words into every conversation that nobody sees. Called by index.ts.

import { KNOWN_TEMPLATES } from './known-templates.js';
import type { TemplateKind } from './templates.js';
import type { Info } from './types.js';

/** Hexadecimal digits of a hash in the table: 128 bits. */
const DIGITS = 32;

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
  const hash = sha256.trimmed.slice(0, DIGITS);
  const [name, architectures = '', word = ''] = KNOWN_TEMPLATES.find((row) => row[3].split(' ').includes(hash)) ?? [];
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
