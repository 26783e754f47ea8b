// An example for each task, of our own writing.

export const ARTICLE = `The goldcrest and its cousins, the kinglets, are among the smallest birds of the northern forests. A grown bird weighs about six grams, as much as a sheet of paper, and yet many of them stay through winters in which the thermometer falls below minus thirty degrees.

They live by eating without a pause. From the first light until dusk a kinglet searches the twigs of spruces and firs for springtails, moth caterpillars and the eggs of spiders, and takes in more than its own weight on a cold day. What it eats by day becomes fat, and the fat is burnt in the night to keep the body warm. A bird that has found too little by evening does not see the morning.

At night they do what single birds cannot: they gather in small groups on a branch under a roof of snow, turn their heads inwards and fluff their feathers until the group looks like one ball. Researchers who followed marked birds found that those who slept in groups of three lost only half the heat of those who slept alone.

Their numbers fall by a half in hard winters. In the summer that follows, each pair raises two broods of up to ten young, the second nest being begun before the first brood has flown, and within three years the forest is as full of their thin, high song as before.`;

export const QUESTION = 'How much does a grown bird weigh?';

export const SENTENCE = 'The house is small, but the garden is wonderful.';

export const BLANK = 'The kinglet is a very small [MASK] that lives in the forest.';
export const BLANK_WORDS = 'bird, fish, stone, river';

export const NEWS =
  'With two minutes left on the clock the visitors won the ball near the halfway line, and their captain scored from thirty metres to take the cup.';
export const NEWS_LABELS = 'sport, politics, cooking, science';

export const NOTES = `Bread: 500 g of flour, 350 g of water, 10 g of salt, a little yeast. Leave it overnight and bake it very hot in a closed pot.

The boiler is serviced each October. Ask for Mr Lindqvist; the number is on the door of the cupboard.

Grandmother's birthday is on the third of May. She likes peonies and hates surprises.

Train to the coast: the 7:40 has no change, the 8:10 is cheaper but one waits an hour on the way.

For a sore throat: warm milk with honey, and do not talk for a day.

The wifi at the cabin only works in the kitchen. Put the router on the upper shelf.

Tomatoes: pinch out the side shoots every week and water the earth, not the leaves.

Ideas for the talk: begin with the bird that weighs as much as a sheet of paper, end with the forest.`;
export const NOTES_QUERY = 'my heating is broken, whom do I call?';
