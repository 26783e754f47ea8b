import * as kinglet from 'kinglet';

Object.assign(globalThis, { kinglet });
