//! A linear classifier: ridge regression of every class against the rest, all classes at once.
//!
//! Solved in the dual, one example at a time (Gauss-Seidel). Weights lie feature by feature with all classes
//! beside each other, so that one feature of a text touches one stretch of memory.

/// A sparse row: features with their values.
pub(super) type Row = Vec<(u32, f32)>;

/// How much the weights are held back.
const LAMBDA: f32 = 0.3;
/// Rounds over the examples at most, and the change below which they end.
const MAX_ROUNDS: usize = 25;
const ENOUGH: f32 = 1e-2;

/// Weights of features × classes.
#[derive(Debug, Clone)]
pub(super) struct Weights {
    classes: usize,
    values: Vec<f32>,
}

impl Weights {
    pub(super) fn zero(features: usize, classes: usize) -> Self {
        Self { classes, values: vec![0.0; features * classes] }
    }

    fn of(&self, feature: u32) -> &[f32] {
        let at = feature as usize * self.classes;
        &self.values[at..at + self.classes]
    }

    fn of_mut(&mut self, feature: u32) -> &mut [f32] {
        let at = feature as usize * self.classes;
        &mut self.values[at..at + self.classes]
    }

    /// Adds `factor × row` to the weights of `class`.
    pub(super) fn add(&mut self, class: usize, row: &Row, factor: f32) {
        for (feature, value) in row {
            self.of_mut(*feature)[class] += factor * value;
        }
    }

    /// The product of `row` with the weights: one number per class.
    pub(super) fn apply(&self, row: &Row, sums: &mut Vec<f32>) {
        sums.clear();
        sums.resize(self.classes, 0.0);
        for (feature, value) in row {
            for (sum, weight) in sums.iter_mut().zip(self.of(*feature)) {
                *sum += value * weight;
            }
        }
    }

    /// Learns that row `i` belongs to class `labels[i]`: its value should be 1 there and 0 elsewhere.
    pub(super) fn train(features: usize, classes: usize, rows: &[Row], labels: &[usize]) -> Self {
        let mut weights = Self::zero(features, classes);
        let mut duals = vec![0.0_f32; rows.len() * classes];
        let mut values = Vec::new();
        for _ in 0..MAX_ROUNDS {
            let mut largest = 0.0_f32;
            for (i, (row, label)) in rows.iter().zip(labels).enumerate() {
                let length: f32 = row.iter().map(|(_, value)| value * value).sum();
                weights.apply(row, &mut values);
                let dual = &mut duals[i * classes..(i + 1) * classes];
                for (class, (value, dual)) in values.iter_mut().zip(dual).enumerate() {
                    let target = f32::from(u8::from(class == *label));
                    let step = (target - *value - LAMBDA * *dual) / (length + LAMBDA);
                    *dual += step;
                    largest = largest.max(step.abs());
                    *value = step;
                }
                for (feature, amount) in row {
                    for (weight, step) in weights.of_mut(*feature).iter_mut().zip(&values) {
                        *weight += amount * step;
                    }
                }
            }
            if largest < ENOUGH {
                break;
            }
        }
        weights
    }

    /// Mixes with `other`: `share` of these, the rest of those.
    pub(super) fn mix(&mut self, other: &Self, share: f32) {
        for (value, other) in self.values.iter_mut().zip(&other.values) {
            *value = share * *value + (1.0 - share) * other;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_learns_what_tells_classes_apart_and_solves_the_ridge_equations() {
        // Feature 0 is common to all, features 1 and 2 belong to one class each.
        let rows: Vec<Row> = vec![vec![(0, 0.8), (1, 0.6)], vec![(0, 0.8), (2, 0.6)], vec![(0, 1.0)]];
        let labels = [0, 1, 1];
        let weights = Weights::train(3, 2, &rows, &labels);
        let mut values = Vec::new();
        for (row, label) in rows.iter().zip(labels) {
            weights.apply(row, &mut values);
            assert!(values[label] > values[1 - label], "{values:?}");
        }
        // The gradient of ½Σ(target − value)² + ½λ‖w‖² vanishes.
        for feature in 0..3 {
            for class in 0..2 {
                let mut gradient = LAMBDA * weights.of(feature)[class];
                for (row, label) in rows.iter().zip(labels) {
                    weights.apply(row, &mut values);
                    let target = f32::from(u8::from(class == label));
                    let amount = row.iter().find(|(f, _)| *f == feature).map_or(0.0, |(_, value)| *value);
                    gradient -= (target - values[class]) * amount;
                }
                assert!(gradient.abs() < 0.02, "feature {feature} class {class}: {gradient}");
            }
        }
    }
}
