import { once } from 'node:events';

/** Prints at the pace of whoever reads; when they have read enough (`| head`), the command is over. */
export async function print(text: string): Promise<void> {
  if (process.stdout.listenerCount('error') === 0) {
    process.stdout.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') process.exit(0);
      throw error;
    });
  }
  if (!process.stdout.write(text)) await once(process.stdout, 'drain');
}
