import { Kinglet } from 'kinglet';
import { useEffect, useState } from 'react';

/** The model at `url`, as soon as it is loaded; its memory is given back when the component goes. */
export function useKinglet(url: string) {
  const [state, setState] = useState<{ engine?: Kinglet; error?: unknown }>({});

  useEffect(() => {
    const controller = new AbortController();
    const loading = Kinglet.load(url, { signal: controller.signal });
    loading.then(
      (engine) => setState({ engine }),
      (error) => controller.signal.aborted || setState({ error }),
    );
    return () => {
      controller.abort();
      setState({});
      loading.then((engine) => engine.close()).catch(() => {}); // an aborted one has nothing to give back
    };
  }, [url]);

  return state;
}
