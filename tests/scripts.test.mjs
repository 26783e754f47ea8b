// How build.sh ends: with what its parts have ended with, whatever runs beside them.
import { strict as assert } from 'node:assert';
import { spawnSync } from 'node:child_process';
import test from 'node:test';

/** Runs bash lines with scripts/common.sh, as build.sh does. */
function script(lines) {
    const text = `set -euo pipefail\n. scripts/common.sh\nKEEP_GOING=1\n${lines}\nclosing_times`;
    return spawnSync('bash', ['-c', text], { cwd: new URL('..', import.meta.url), encoding: 'utf8' });
}

test('a script whose parts have passed ends with 0, and says what each has printed', () => {
    const { status, stdout } = script('begin echo beside\npart one echo first\npart two finished');
    assert.equal(status, 0);
    assert.match(stdout, /first[^]*beside/);
});

for (const [name, lines] of [
    ['a part', 'part one false\npart two true'],
    ['a command in the middle of a part', 'both() { false; true; }\npart one both'],
    ['what runs beside', 'begin false\npart one true\npart beside finished'],
    ['one of two at once', 'part one at_once false true'],
]) {
    test(`${name} that fails fails the script, after the others have run`, () => {
        const { status, stdout, stderr } = script(`${lines}\npart last echo reached`);
        assert.equal(status, 1);
        assert.match(stdout, /reached/);
        assert.match(stderr, /failed: (one|beside);/);
    });
}
