import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';
import { KingletError } from '../src/errors.js';
import { vocabularyFromTokenizerJson } from '../src/tokenizer-json.js';

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- the tests change parts of it at will
type Loose = any;

/** From test/build/test, where this runs. */
const GOLDEN = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../../../../tests/golden/tokenizer/json');
const NAMES = fs.readdirSync(GOLDEN).flatMap((name) => (name.endsWith('.json') ? [name.slice(0, -5)] : []));
const golden = (name: string): Loose => JSON.parse(fs.readFileSync(path.join(GOLDEN, `${name}.json`), 'utf8'));

// That these headers give Hugging Face's ids, tests/tokenizer_json.rs shows.
test('the headers of all small tokenizers are the ones that the engine is tested with', () => {
  assert.equal(NAMES.length, 10);
  for (const name of NAMES) {
    const { tokenizer, config } = golden(name);
    const header = vocabularyFromTokenizerJson(tokenizer, config);
    const expected = fs.readFileSync(path.join(GOLDEN, `${name}.gguf`));
    assert.ok(expected.equals(header), name);
  }
});

test('what is not understood is refused, and its place is named', () => {
  const refused = (name: string, change: (json: Loose) => unknown, code: string, pattern: RegExp): void => {
    const { tokenizer } = golden(name);
    const json = change(tokenizer) ?? tokenizer;
    assert.throws(
      () => vocabularyFromTokenizerJson(json),
      (error) => error instanceof KingletError && error.code === code && pattern.test(error.message),
      `${name}: ${String(pattern)}`,
    );
  };
  const format = 'E_FILE_FORMAT';
  const feature = 'E_UNSUPPORTED_FEATURE';
  refused('bpe-nfc', () => [], format, /\$ is \[\]/);
  refused('bpe-nfc', (json) => void delete json.model, format, /\$\.model is missing/);
  refused('bpe-nfc', (json) => void (json.model.type = 'WordLevel'), feature, /"WordLevel" at \$\.model\.type/);
  refused('bpe-nfc', (json) => void (json.model.merges[3] = ['a', 'b c']), format, /\$\.model\.merges\[3\]/);
  refused('bpe-nfc', (json) => void (json.model.merges[3] = 'abc'), format, /\$\.model\.merges\[3\]/);
  refused('bpe-nfc', (json) => void (json.model.merges = null), format, /\$\.model\.merges/);
  refused('bpe-nfc', (json) => void (json.model.vocab['new'] = 3), format, /\$\.model\.vocab has "new" at 3/);
  refused('bpe-nfc', (json) => void (json.model.vocab['new'] = 2 ** 40), format, /\$\.model\.vocab/);
  refused('bpe-nfc', (json) => void (json.model.end_of_word_suffix = '</w>'), feature, /end_of_word_suffix is "<\/w>"/);
  refused('bpe-nfc', (json) => void (json.normalizer = { type: 'NFKC' }), feature, /"NFKC" at \$\.normalizer/);
  refused(
    'bpe-nfc',
    (json) => void (json.added_tokens[1].single_word = true),
    feature,
    /single_word at \$\.added_tokens\[1\]/,
  );
  refused(
    'bpe-nfc',
    (json) => void (json.added_tokens[1].id = 7),
    format,
    /\$\.added_tokens\[1\] is "<\/s>", but piece 7/,
  );
  refused(
    'bpe-nfc',
    (json) => void (json.pre_tokenizer.pretokenizers[0].behavior = 'Removed'),
    feature,
    /pretokenizers\[0\]/,
  );
  refused('bpe-nfc', (json) => void json.pre_tokenizer.pretokenizers.reverse(), feature, /"ByteLevel" at/);
  refused('bpe-nfc', (json) => void (json.post_processor.single = []), feature, /\$\.post_processor\.single/);
  refused('bpe-nfc', (json) => void (json.decoder = { type: 'CTC' }), feature, /"CTC" at \$\.decoder/);
  refused('bpe-llama', (json) => void (json.model.byte_fallback = false), feature, /byte_fallback is false/);
  refused('bpe-llama', (json) => void (json.normalizer = null), feature, /keeps spaces/);
  refused('bpe-llama', (json) => void (json.added_tokens[1].normalized = true), feature, /normalized at/);
  refused('unigram-t5', (json) => void (json.model.unk_id = null), format, /\$\.model\.unk_id/);
  refused('unigram-t5', (json) => void (json.model.vocab[9] = ['a']), format, /\$\.model\.vocab\[9\]/);
  refused('unigram-t5', (json) => void (json.pre_tokenizer.prepend_scheme = 'first'), feature, /"first" at/);
  refused(
    'unigram-t5',
    (json) => void (json.normalizer.normalizers[0].precompiled_charsmap = '%'),
    format,
    /no base64/,
  );
  refused('wordpiece-cased', (json) => void (json.normalizer.clean_text = false), feature, /clean_text is false/);
  refused('wordpiece-cased', (json) => void (json.pre_tokenizer = { type: 'Whitespace' }), feature, /BertPreTokenizer/);
  refused('wordpiece-cased', (json) => void (json.model.unk_token = '?!'), format, /no piece "\?!"/);
});

test('other ways to write the same give the same bytes', () => {
  const same = (name: string, change: (json: Loose) => void): void => {
    const { tokenizer, config } = golden(name);
    const before = vocabularyFromTokenizerJson(tokenizer, config);
    change(tokenizer);
    assert.deepEqual(vocabularyFromTokenizerJson(tokenizer, config), before);
  };
  const merges = (json: Loose): Loose[] => json.model.merges as Loose[];
  same('bpe-nfc', (json) => void (json.model.merges = merges(json).map((pair) => pair.join(' '))));
  same('bpe-nfc', (json) => void delete json.model.type);
  same('bpe-nfc', (json) => {
    Object.assign(json.pre_tokenizer.pretokenizers[0], { behavior: 'Removed', invert: true });
  });
  same('unigram-t5', (json) => void (json.added_tokens[1].normalized = true));
  same('wordpiece-cased', (json) => {
    json.post_processor = { type: 'BertProcessing', cls: ['[CLS]', 2], sep: ['[SEP]', 3] };
  });
});
