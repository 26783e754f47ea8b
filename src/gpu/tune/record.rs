//! What was found out, as text that a page can keep: the first line says for which shaders and which device, each other one what was
//! chosen for a class of models, newest last. Whatever else a text says is not taken.
//!
//! ```text
//! 5f0c22be91a3d704 nvidia ampere
//! Q4_1 [960, 576] 152:1,0,-,2       by axis the candidate, or not measured yet
//! ```

use super::axis::{Axis, Chosen};

/// Classes that are kept.
const MOST_CLASSES: usize = 32;

/// What was found out on this device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    key: String,
    classes: Vec<(String, Chosen)>,
}

impl Record {
    /// From the text of an earlier time; empty where that is another device's, or of other shaders.
    pub(crate) fn new(device: &str, text: &str) -> Self {
        let key = [env!("SHADERS"), " ", &device.replace('\n', " ")].concat();
        let mut lines = text.lines();
        let is_ours = lines.next() == Some(key.as_str());
        let classes = lines.filter(|_| is_ours).filter_map(parse).take(MOST_CLASSES).collect();
        Self { key, classes }
    }

    /// What is known of a class.
    pub(crate) fn chosen(&self, class: &str) -> Chosen {
        self.classes.iter().find(|(c, _)| c == class).map_or_else(Chosen::default, |(_, chosen)| *chosen)
    }

    /// Notes what was chosen for a class.
    pub(crate) fn note(&mut self, class: &str, chosen: Chosen) {
        self.classes.retain(|(c, _)| c != class);
        if self.classes.len() == MOST_CLASSES {
            self.classes.remove(0);
        }
        self.classes.push((class.to_owned(), chosen));
    }

    /// The text.
    pub(crate) fn text(&self) -> String {
        let mut text = self.key.clone();
        for (class, chosen) in &self.classes {
            text.extend(["\n", class, ":", &code(*chosen)]);
        }
        text
    }
}

/// By axis the candidate.
pub(super) fn code(chosen: Chosen) -> String {
    chosen.map(|i| i.map_or_else(|| "-".to_owned(), |i| i.to_string())).join(",")
}

fn parse(line: &str) -> Option<(String, Chosen)> {
    let (class, code) = line.rsplit_once(':')?;
    let mut chosen = Chosen::default();
    let mut parts = code.split(',');
    for (axis, place) in Axis::ALL.iter().zip(&mut chosen) {
        *place = match parts.next()? {
            "-" => None,
            i => Some(i.parse().ok().filter(|i| *i < axis.n_candidates())?),
        };
    }
    parts.next().is_none().then(|| (class.to_owned(), chosen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut record = Record::new("a GPU", "");
        record.note("Q4_1: 8", [Some(2), None, Some(0), Some(1)]);
        record.note("F16", [None; 4]);
        record.note("Q4_1: 8", [Some(2), Some(1), Some(0), Some(1)]);
        let read = Record::new("a GPU", &record.text());
        assert_eq!(read, record);
        assert_eq!(read.chosen("Q4_1: 8"), [Some(2), Some(1), Some(0), Some(1)]);
        assert_eq!(Record::new("another GPU", &record.text()).chosen("Q4_1: 8"), [None; 4]);
    }

    #[test]
    fn anything_else_is_not_taken() {
        let key = Record::new("a GPU", "").text();
        for line in ["", "x", "x:", "x:1,1,1", "x:1,1,1,1,1", "x:99,0,0,0", "x:a,0,0,0", "x:-1,0,0,0"] {
            let text = [&key, "\n", line].concat();
            assert_eq!(Record::new("a GPU", &text).text(), key, "{line}");
        }
        let many: String = (0..100).map(|i| format!("\n{i}:0,0,0,0")).collect();
        let mut record = Record::new("a GPU", &[&key, many.as_str()].concat());
        record.note("new", [Some(1); 4]);
        assert_eq!(record.text().lines().count(), 1 + MOST_CLASSES);
        assert_eq!(record.chosen("new"), [Some(1); 4]);
    }
}
