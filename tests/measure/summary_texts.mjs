// Twenty texts to be summarized and translated, all written for this: fourteen short ones, and six that are made of several, longer than a
// context of 512 tokens. Used by summaries.mjs.

const SHORT = [
  `The lighthouse on the north cape was built in 1871, after three ships had been lost on the reef in a single winter. For ninety years a keeper and his family lived in the tower. In 1962 the lamp was made automatic, and the last keeper moved to the village. Today the house is a small museum that is open from May to September.`,
  `Bread needs only four things: flour, water, salt and time. The flour and the water are mixed and left alone for an hour, so that the dough becomes elastic by itself. Then the salt is added, and the dough is folded every thirty minutes. After four hours it is shaped and put into the refrigerator for the night. In the morning it is baked in a very hot oven for forty minutes.`,
  `The city council decided on Tuesday to close the old market square to cars. From next spring only buses, bicycles and delivery vans will be allowed before ten in the morning. Shop owners had feared that they would lose customers, but a trial last summer showed the opposite: sales rose by six percent. The council will spend two million euros on trees, benches and a fountain.`,
  `Swifts spend almost their whole lives in the air. They eat, drink and even sleep while they fly, and they land only to breed. In August they leave Europe and fly to central Africa, a journey of seven thousand kilometres. A young swift may not touch the ground for three years.`,
  `Maria wanted to learn the violin when she was fifty. Her friends laughed, but she bought a cheap instrument and practised every evening after work. The first year was hard, for her neighbours too. In the third year she joined an orchestra of amateurs. Last week they played a symphony in the town hall, and her friends sat in the first row.`,
  `The update of the program brings three changes. Files are now saved every minute, so that nothing is lost after a power failure. The search finds words also in pictures that contain text. And the start takes two seconds instead of nine. Users of version 3 get the update for free, all others pay twelve euros.`,
  `In 1912 a man named Alfred Harper dug a well behind his farm and found, instead of water, the bones of a mammoth. He sold them to a travelling circus for twenty dollars. A century later a student discovered the bones in the cellar of a theatre in Ohio. They belong to one of the largest mammoths that were ever found in America.`,
  `Sleep is not a waste of time. While we sleep the brain sorts what it has learned during the day and clears away harmful proteins. People who sleep less than six hours for many years have a higher risk of diabetes and of heart disease. Doctors advise adults to sleep between seven and nine hours, and to leave the telephone outside of the bedroom.`,
  `The train from Vienna to Trieste once crossed the highest mountains of its time. Engineers had said that no locomotive could climb the pass at Semmering. Carl von Ghega began to build the line in 1848, before a locomotive existed that could use it. It was finished in 1854 with sixteen viaducts and fifteen tunnels, and it is still in use.`,
  `A team of researchers has found a way to make concrete that repairs itself. They add bacteria that sleep in tiny capsules. When a crack opens, water comes in and wakes the bacteria, and these produce limestone until the crack is closed. In the laboratory cracks of half a millimetre closed within three weeks. The concrete costs twice as much as the usual one.`,
  `Dear guests, the swimming pool will be closed from Monday to Wednesday because the tiles have to be repaired. The sauna stays open as usual. Guests who have booked a course will get their money back at the reception desk. We are sorry for the trouble, and we invite you to a free drink at the bar.`,
  `The violin maker knocks on the wood before he buys it. If it rings like a bell it is good; if it sounds dull he puts it back. The best spruce grows slowly, high in the mountains and on poor soil, so that its rings are narrow. Then it has to dry for ten years. He says that the most important tool of his trade is patience.`,
  `Only a few people know that the potato came to Europe as a flower. Kings planted it in their gardens because its blossoms were beautiful, and nobody thought of eating the ugly roots. In Prussia the king had to use a trick: he let soldiers guard the fields, so that the farmers believed that something precious grew there. At night they came and stole the plants.`,
  `On Saturday the football club of the village won the cup for the first time in its history. After ninety minutes the score was one to one. In the extra time the goalkeeper, who is sixty years old and had only stepped in because his son was ill, stopped a penalty. Two minutes later the captain scored the winning goal. The celebrations lasted until the morning.`,
];

const LONG = [
  [0, 3, 6, 9, 12, 1, 4, 7],
  [13, 12, 11, 10, 9, 8, 7, 6],
  [2, 5, 8, 11, 0, 6, 3, 9, 13],
  [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
  [13, 11, 9, 7, 5, 3, 1, 12, 10, 8, 6, 4, 2, 0],
  [5, 9, 2, 13, 7, 1, 12, 4, 10, 6, 3, 8, 11, 0, 13, 2, 9, 5, 4, 7],
];

export const TEXTS = [...SHORT, ...LONG.map((parts) => parts.map((i) => SHORT[i]).join('\n\n'))];
