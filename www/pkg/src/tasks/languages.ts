// Names of languages: models were taught English ones.

const MAX_NAME_CHARS = 60;

/**
 * The English name of a language, given by name or by a tag of BCP 47 such as `de` or `pt-BR`; `isBare`: without a region or a script,
 * where a model knows only one of each.
 *
 * @throws RangeError for a tag of no language, or what cannot be a name.
 */
export function languageName(language: unknown, option: string, isBare: boolean): string {
  if (typeof language !== 'string') throw new TypeError(`${option} must be the name of a language or its tag`);
  const said = language.trim();
  const isTag = /^[a-z]{2,3}([-_][a-z\d]{2,8})*$/i.test(said) && (said.length <= 3 || /[-_]/.test(said));
  if (!isTag) {
    if (!/^\p{L}[\p{L}\p{M} ()'’-]*$/u.test(said) || said.length > MAX_NAME_CHARS)
      throw new RangeError(`${option} is ${JSON.stringify(language)}, not the name of a language or its tag`);
    return said;
  }
  const whole = said.replaceAll('_', '-');
  const tag = isBare ? whole.replace(/-.*/, '') : whole;
  let name: string | undefined;
  try {
    name = new Intl.DisplayNames(['en'], { type: 'language', fallback: 'none' }).of(tag);
  } catch {
    // No tag by its form.
  }
  if (name === undefined) throw new RangeError(`${option} is ${JSON.stringify(language)}, which is no language's tag`);
  return name;
}
