// Plain JavaScript: the bootstrap shows its steps with it on a Node that reads no TypeScript.

/**
 * Runs one step and prints one line for it with the seconds that it took; on a terminal the time runs meanwhile.
 * @template T
 * @param {string} title
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function step(title, work) {
  const begin = Date.now();
  const line = (mark) =>
    `  ${mark} ${title.padEnd(52)} ${((Date.now() - begin) / 1000).toFixed(1).padStart(5)} s`;
  const isTerminal = process.stdout.isTTY === true;
  const draw = () => process.stdout.write(`\r${line('·')}`);
  const timer = isTerminal ? setInterval(draw, 100) : undefined;
  const end = (mark) => {
    clearInterval(timer);
    process.stdout.write(`${isTerminal ? '\r' : ''}${line(mark)}\n`);
  };
  try {
    const result = await work();
    end('✓');
    return result;
  } catch (error) {
    end('✗');
    throw error;
  }
}
