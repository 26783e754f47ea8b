import * as kinglet from 'kinglet';

globalThis.kinglet = kinglet;
