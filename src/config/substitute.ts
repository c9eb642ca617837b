const MARK = /\$\$\{|\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}|\$\{[^}]*\}?/g;

/**
 * Puts values of the environment in place of `${env:NAME}`; `$${` stands for `${`. What comes from the
 * environment is not looked at again. Problems name variables, never their values.
 */
export function substitute(
  text: string,
  env: NodeJS.ProcessEnv,
): { text: string; used: boolean; problems: string[] } {
  const problems: string[] = [];
  let used = false;
  const result = text.replace(MARK, (mark, name: string | undefined) => {
    if (mark === '$${') return '${';
    if (name === undefined) {
      problems.push('has a ${…} that is not ${env:NAME}; write $${ for a literal ${');
      return mark;
    }
    const value = env[name];
    used = true;
    if (value === undefined) problems.push(`needs the environment variable ${name}, which is not set`);
    return value ?? '';
  });
  return { text: result, used, problems };
}
