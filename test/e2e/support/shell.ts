import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** What a command has written to standard output and standard error, as a terminal shows it. */
export type Ran = { readonly printed: string; readonly code: number };

export type Shell = {
  /** One command after the other; variables are kept. */
  run(command: string): Promise<Ran>;
  /** Whatever runs in it is killed. */
  stop(): Promise<void>;
};

/** Ends the output of a command; no command writes it. */
const END = '\0';

/** A POSIX shell that reads commands as those of a person. */
export function startShell(cwd: string, env: NodeJS.ProcessEnv): Shell {
  const shell = spawn('sh', { cwd, env, stdio: ['pipe', 'pipe', 'inherit'], detached: true });
  const ended = once(shell, 'exit');
  const texts = shell.stdout.setEncoding('utf8')[Symbol.asyncIterator]() as AsyncIterator<string>;
  return {
    async run(command) {
      shell.stdin.write(`{ ${command}\n} 2>&1 </dev/null; printf '\\0%s\\0' "$?"\n`);
      let text = '';
      for (;;) {
        const [printed = '', code, rest] = text.split(END);
        if (rest !== undefined) return { printed, code: Number(code) };
        const { value, done } = await texts.next();
        if (done === true) throw new Error(`the shell has ended, with: ${text}`);
        text += value;
      }
    },
    async stop() {
      try {
        if (shell.pid !== undefined) process.kill(-shell.pid, 'SIGKILL');
      } catch (error) {
        // It and all that ran in it have ended.
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
      }
      await ended;
    },
  };
}
