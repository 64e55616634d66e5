//! A classifier over vectors: multinomial logistic regression, which learns what tells classes apart.
//!
//! Solved in the dual, one example at a time: each example holds a distribution over the classes, which moves a step
//! towards what the weights of the moment say of it (exponentiated gradient). The weights are the sum of what these
//! distributions lack of the examples' true classes. The step follows from the curvature and nothing is drawn by lot:
//! the same examples give the same weights.

use super::index::dot;

/// How much the weights are held back. Chosen, as the rounds, by cross-validation over the training rows of three public
/// sets and the example agents (`docs/benchmarks.md`).
const LAMBDA: f32 = 0.1;
/// Rounds over the examples at most, and the change of a probability below which they end.
const MAX_ROUNDS: usize = 20;
const ENOUGH: f32 = 1e-3;

/// Weights of classes × dimension.
#[derive(Debug, Clone)]
pub(super) struct Softmax {
    dimension: usize,
    weights: Vec<f32>,
}

impl Softmax {
    /// Learns that row `i`, a vector of length 1, belongs to class `labels[i]`.
    pub(super) fn train(rows: &[&[f32]], labels: &[usize], classes: usize) -> Self {
        let dimension = rows.first().map_or(0, |row| row.len());
        let mut learned = Self { dimension, weights: vec![0.0; classes * dimension] };
        let even = 1.0 / classes.max(1) as f32;
        // By example and class: the logarithm of its probability.
        let mut logs = vec![even.ln(); rows.len() * classes];
        for (row, label) in rows.iter().zip(labels) {
            (0..classes).for_each(|class| learned.add(class, row, -even / LAMBDA));
            learned.add(*label, row, 1.0 / LAMBDA);
        }
        let step = 1.0 / (1.0 + 1.0 / LAMBDA);
        for _ in 0..MAX_ROUNDS {
            let mut largest = 0.0_f32;
            for (row, logs) in rows.iter().zip(logs.chunks_exact_mut(classes.max(1))) {
                let mut moved = learned.apply(row);
                for (moved, log) in moved.iter_mut().zip(&*logs) {
                    *moved = (1.0 - step) * log + step * *moved;
                }
                normalise(&mut moved);
                for (class, (log, moved)) in logs.iter_mut().zip(moved).enumerate() {
                    let change = log.exp() - moved.exp();
                    *log = moved;
                    if change != 0.0 {
                        largest = largest.max(change.abs());
                        learned.add(class, row, change / LAMBDA);
                    }
                }
            }
            if largest < ENOUGH {
                break;
            }
        }
        learned
    }

    /// One number per class for `unit`: its share of the likelihood is the exponential of it.
    pub(super) fn apply(&self, unit: &[f32]) -> Vec<f32> {
        self.weights.chunks_exact(self.dimension.max(1)).map(|weights| dot(weights, unit)).collect()
    }

    /// Adds `factor` times a vector to the weights of `class`.
    fn add(&mut self, class: usize, unit: &[f32], factor: f32) {
        let weights = &mut self.weights[class * self.dimension..(class + 1) * self.dimension];
        for (weight, value) in weights.iter_mut().zip(unit) {
            *weight += factor * value;
        }
    }
}

/// Makes logarithms those of a distribution.
fn normalise(logs: &mut [f32]) {
    let most = logs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total = most + logs.iter().map(|log| (log - most).exp()).sum::<f32>().ln();
    logs.iter_mut().for_each(|log| *log -= total);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_learns_what_tells_classes_apart_and_solves_its_equations() {
        // The first direction is common to all, the others belong to one class each.
        let rows: [&[f32]; 4] = [&[0.8, 0.6, 0.0], &[0.8, 0.0, 0.6], &[1.0, 0.0, 0.0], &[0.6, 0.8, 0.0]];
        let labels = [0, 1, 1, 0];
        let learned = Softmax::train(&rows, &labels, 2);
        for (row, label) in rows.iter().zip(labels) {
            let values = learned.apply(row);
            assert!(values[label] > values[1 - label], "{values:?}");
        }
        // The gradient of Σ −ln p(true class) + ½λ‖w‖² vanishes.
        for class in 0..2 {
            for direction in 0..3 {
                let mut gradient = LAMBDA * learned.weights[class * 3 + direction];
                for (row, label) in rows.iter().zip(labels) {
                    let mut logs = learned.apply(row);
                    normalise(&mut logs);
                    gradient += (logs[class].exp() - f32::from(u8::from(class == label))) * row[direction];
                }
                assert!(gradient.abs() < 0.05, "class {class}, direction {direction}: {gradient}");
            }
        }
    }

    #[test]
    fn nothing_to_learn_is_no_error() {
        assert!(Softmax::train(&[], &[], 0).apply(&[]).is_empty());
        assert_eq!(Softmax::train(&[&[1.0]], &[0], 1).apply(&[1.0]).len(), 1);
    }
}
