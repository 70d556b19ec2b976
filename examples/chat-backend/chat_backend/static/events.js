/** Server-sent events out of the body of an answer to fetch (EventSource can only GET). */
export async function* events(response) {
  let rest = "";
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const found = /^event: (\w+)\ndata: (.*)$/.exec(block);
        if (found) yield { kind: found[1], data: JSON.parse(found[2]) }; // else a comment
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
