// Conversations as trees and as files: branches, what a file may say, and names of files.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileName, fromJson, ImportError, toJson, toMarkdown } from '../dist/conversations/files.js';
import { Tree } from '../dist/conversations/tree.js';
import { now, titleOf } from '../dist/conversations/types.js';

const question = (id, parent, createdMs) => ({
  id,
  conversation: 'c',
  parent,
  role: 'user',
  text: `q ${id}`,
  createdMs,
});
const answer = (id, parent, createdMs) => ({
  ...question(id, parent, createdMs),
  role: 'assistant',
  text: `a ${id}`,
  answer: { model: 'bird', figures: '3 tokens', end: 'stop' },
});
//  1 ─ 2 ─ 3 ─ 4
//   └─ 5     └─ 6        7 is another beginning
const MESSAGES = [
  question('1', null, 1),
  answer('2', '1', 2),
  question('3', '2', 3),
  answer('4', '3', 4),
  answer('5', '1', 5),
  answer('6', '3', 6),
  question('7', null, 7),
];
const WHOLE = {
  conversation: { id: 'c', title: 'Title', createdMs: 1e12, updatedMs: 2e12, system: 'Be kind.', leaf: '4' },
  messages: MESSAGES,
  tokens: [],
};
const ids = (messages) => messages.map(({ id }) => id).join('');

test('a branch, its versions, and its end', () => {
  const tree = new Tree([...MESSAGES].reverse());
  assert.equal(ids(tree.messages), '1234567');
  assert.equal(ids(tree.path('6')), '1236');
  assert.equal(ids(tree.path(null)), '');
  assert.equal(ids(tree.path('none')), '');
  assert.equal(ids(tree.versions(tree.get('2'))), '25');
  assert.equal(ids(tree.versions(tree.get('1'))), '17');
  assert.equal(tree.leafBelow('2'), '6', 'the newest branch');
  assert.equal(tree.leafBelow('5'), '5');
  assert.equal(ids(new Tree([question('8', 'gone', 1)]).path('8')), '8', 'what it followed is missing');
});

test('a very long conversation is no deeper for it', () => {
  const long = Array.from({ length: 20_000 }, (_, i) => question(String(i), i ? String(i - 1) : null, i));
  const tree = new Tree(long);
  assert.equal(tree.leafBelow('0'), '19999');
  assert.equal(tree.path('19999').length, 20_000);
});

test('what was saved is read again, with new ids and every branch', () => {
  const [read, ...others] = fromJson(toJson([WHOLE]));
  assert.deepEqual(others, []);
  const { id, leaf, ...rest } = read.conversation;
  assert.deepEqual(rest, { title: 'Title', createdMs: 1e12, updatedMs: 2e12, system: 'Be kind.' });
  assert.notEqual(id, 'c');
  const texts = (whole) => new Tree(whole.messages).path(whole.conversation.leaf).map(({ text }) => text);
  assert.deepEqual(texts(read), texts(WHOLE));
  assert.equal(read.messages.find((message) => message.id === leaf).text, 'a 4');
  assert.deepEqual(
    read.messages.map(({ role, text, answer }) => [role, text, answer]),
    MESSAGES.map(({ role, text, answer }) => [role, text, answer]),
  );
  assert.deepEqual(fromJson(toJson([])), []);
  const twice = fromJson(toJson([read]));
  assert.deepEqual(texts(twice[0]), texts(WHOLE));
});

/** The file of WHOLE after a change. */
const changed = (change) => {
  const file = JSON.parse(toJson([WHOLE]));
  change(file.conversations[0], file);
  return JSON.stringify(file);
};

test('whatever is wrong in a file is found and named', () => {
  const message = (n, part) => (conversation) => Object.assign(conversation.messages[n - 1], part);
  for (const [change, words] of [
    [(_, file) => (file.version = 2), /version 2; this page reads version 1/],
    [(_, file) => (file.conversations = {}), /conversations is \{\}, not a list/],
    [(_, file) => file.conversations.push(7), /Conversation 2 is 7/],
    [(one) => delete one.title, /Conversation 1: title is missing/],
    [(one) => (one.system = ['x'.repeat(99)]), /system is \["x{38}…, not a text/],
    [(one) => (one.created = 'yesterday'), /created is "yesterday", not a date/],
    [(one) => (one.leaf = 'none'), /its leaf is none of its messages/],
    [(one) => (one.leaf = null), /its leaf is none of its messages/],
    [(one) => (one.messages = []), /its leaf is none of its messages/],
    [message(2, { role: 'system' }), /Conversation 1, message 2: its role is "system"/],
    [message(1, { role: 'assistant', model: 'm', end: 'stop', figures: '' }), /take turns/],
    [message(3, { parent: '4' }), /message 3: it follows no message before it/],
    [message(3, { parent: '1' }), /take turns/],
    [message(3, { id: '1' }), /its id is that of a message before it/],
    [message(3, { parent: '3' }), /follows no message before it/],
    [message(2, { text: null }), /text is null/],
    [message(2, { end: 'tired' }), /its end is "tired"/],
    [message(2, { model: 3 }), /model is 3/],
  ])
    assert.throws(
      () => fromJson(changed(change)),
      (error) => error instanceof ImportError && words.test(error.message),
      String(words),
    );
  for (const text of ['', '[]', 'null', '{"a":', '"x"']) assert.throws(() => fromJson(text), ImportError, text);
});

test('dates that lie do not turn the order around', () => {
  const [read] = fromJson(changed((one) => (one.messages[0].created = '2099-01-01T00:00:00Z')));
  const [again] = fromJson(toJson([read]));
  assert.equal(again.messages.length, MESSAGES.length);
});

test('Markdown of the branch that is shown', () => {
  const expected =
    '# Title\n\n*2001-09-09*\n\n## System prompt\n\nBe kind.\n\n## You\n\nq 1\n\n## bird\n\na 2\n\n## You\n\nq 3\n\n## bird\n\na 4\n';
  assert.equal(toMarkdown(WHOLE), expected);
});

test('titles and names of files', () => {
  assert.equal(titleOf('  Why?\nBecause.'), 'Why?');
  assert.equal(titleOf(' \n '), 'Untitled');
  assert.equal(titleOf('word '.repeat(30)), `${'word '.repeat(11)}word…`);
  assert.equal(fileName('a/b\\c: "d"?', 'md'), 'a b c d.md');
  assert.equal(fileName('../..', 'md'), 'conversation.md');
  assert.equal(fileName('', 'json'), 'conversation.json');
});

test('the time goes on with every question', () => {
  const times = Array.from({ length: 100 }, now);
  assert.ok(times.every((ms, i) => i === 0 || ms > times[i - 1]));
});
