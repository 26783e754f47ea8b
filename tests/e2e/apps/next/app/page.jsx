'use client';

import { Kinglet } from 'kinglet';
import { useEffect, useState } from 'react';

export default function Page() {
  const [text, setText] = useState('');
  const [device, setDevice] = useState();

  useEffect(() => {
    const controller = new AbortController();
    answer(controller.signal).catch((error) => {
      if (!controller.signal.aborted) throw error;
    });
    return () => controller.abort();

    async function answer(signal) {
      const engine = await Kinglet.load('/tiny.gguf', { signal });
      try {
        const params = { prompt: 'the in on at', max_tokens: 4, temperature: 0, stream: true };
        for await (const { choices } of await engine.completions.create(params, { signal }))
          setText((before) => before + (choices[0]?.text ?? ''));
        setDevice(engine.info.device.reason);
      } finally {
        await engine.close();
      }
    }
  }, []);

  return (
    <output title={device} aria-busy={device === undefined}>
      {text}
    </output>
  );
}
