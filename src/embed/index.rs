//! Finding the nearest of many vectors.
//!
//! [`VectorIndex`] keeps unit vectors side by side in one stretch of memory and compares a query with one after the
//! other: exact, and fast enough for tens of thousands, since the time is that of reading the memory once. A graph
//! over them (`super::graph`, feature `hnsw`) looks at a few thousand of a million instead.

use crate::job::{ErrorCode, JobError};

/// Finds the nearest of many vectors.
pub trait Index: Send + Sync {
    /// Places of at most `count` vectors, nearest to `unit` first; only of those `among` (in ascending order), where
    /// given. `unit` has length 1 and the vectors' dimension.
    fn nearest(&self, unit: &[f32], count: usize, among: Option<&[usize]>) -> Vec<usize>;
}

/// Numbers added up side by side, so that the compiler can use wide registers.
const LANES: usize = 16;

/// Vectors of one dimension, each of length 1.
#[derive(Debug, Clone, Default)]
pub struct VectorIndex {
    dimension: usize,
    values: Vec<f32>,
}

impl VectorIndex {
    /// An empty index; the first vector sets its dimension.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many vectors there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len().checked_div(self.dimension).unwrap_or_default()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Adds a vector, brought to length 1.
    ///
    /// # Errors
    /// `llm_bad_output` for a vector that is empty, zero, not finite or of another dimension.
    pub fn push(&mut self, vector: &[f32]) -> Result<(), JobError> {
        let unit = self.unit(vector)?;
        self.dimension = unit.len();
        self.values.extend_from_slice(&unit);
        Ok(())
    }

    /// One vector.
    #[must_use]
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dimension..(row + 1) * self.dimension]
    }

    /// `vector` brought to length 1, if it can be compared with these.
    ///
    /// # Errors
    /// As [`VectorIndex::push`].
    pub fn unit(&self, vector: &[f32]) -> Result<Vec<f32>, JobError> {
        let bad = |what: String| {
            let message = format!("the embedding cannot be compared: {what}; check embeddings.model");
            Err(JobError::new(ErrorCode::LlmBadOutput, message).with_retryable(false))
        };
        if vector.is_empty() {
            return bad("it is empty".into());
        }
        if self.dimension != 0 && vector.len() != self.dimension {
            return bad(format!("it has {} dimensions, the agents' have {}", vector.len(), self.dimension));
        }
        let length = vector.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>().sqrt();
        if !length.is_finite() {
            return bad("it holds values that are not finite".into());
        }
        if length == 0.0 {
            return bad("it is zero".into());
        }
        Ok(vector.iter().map(|value| (f64::from(*value) / length) as f32).collect())
    }

    /// The cosine of one vector with `unit`, which has length 1 and the same dimension.
    #[must_use]
    pub fn cosine(&self, row: usize, unit: &[f32]) -> f32 {
        dot(self.row(row), unit)
    }

    /// The cosine of every vector with `unit`, which has length 1 and the same dimension.
    pub fn cosines<'a>(&'a self, unit: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
        self.values.chunks_exact(self.dimension.max(1)).map(|row| dot(row, unit))
    }
}

impl Index for VectorIndex {
    fn nearest(&self, unit: &[f32], count: usize, among: Option<&[usize]>) -> Vec<usize> {
        let mut scored: Vec<(usize, f32)> = match among {
            None => self.cosines(unit).enumerate().collect(),
            Some(among) => among.iter().map(|place| (*place, self.cosine(*place, unit))).collect(),
        };
        let best_first = |a: &(usize, f32), b: &(usize, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if scored.len() > count && count > 0 {
            scored.select_nth_unstable_by(count - 1, best_first);
        }
        scored.truncate(count);
        scored.sort_unstable_by(best_first);
        scored.into_iter().map(|(place, _)| place).collect()
    }
}

pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_that_cannot_be_compared_are_errors() {
        let mut index = VectorIndex::new();
        index.push(&[3.0, 4.0]).unwrap();
        assert_eq!(index.row(0), [0.6, 0.8]);
        for (bad, why) in [
            (&[][..], "empty"),
            (&[0.0, 0.0], "zero"),
            (&[1.0], "1 dimensions, the agents' have 2"),
            (&[f32::NAN, 1.0], "not finite"),
            (&[f32::INFINITY, 1.0], "not finite"),
        ] {
            let error = index.unit(bad).unwrap_err();
            assert!(error.message.contains(why) && !error.retryable, "{bad:?}: {error}");
            assert!(index.push(bad).is_err());
        }
        assert_eq!(index.len(), 1);
    }

    #[test]
    fn every_vector_is_compared_in_order() {
        let mut index = VectorIndex::new();
        for vector in [[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]] {
            index.push(&vector).unwrap();
        }
        assert_eq!(index.cosines(&[1.0, 0.0]).collect::<Vec<_>>(), [1.0, 0.0, -1.0]);
    }

    #[test]
    fn the_nearest_come_first_and_equals_in_order() {
        let mut index = VectorIndex::new();
        for vector in [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [2.0, 0.0], [-1.0, 0.0]] {
            index.push(&vector).unwrap();
        }
        for (count, among, expected) in [
            (3, None, &[1, 3, 2][..]),
            (9, None, &[1, 3, 2, 0, 4]),
            (0, None, &[]),
            (2, Some(&[0, 2, 4][..]), &[2, 0]),
            (2, Some(&[]), &[]),
        ] {
            assert_eq!(index.nearest(&[1.0, 0.0], count, among), expected, "{count} {among:?}");
        }
    }

    #[test]
    fn the_product_is_right_for_any_dimension() {
        for dimension in [1, 15, 16, 17, 33, 384] {
            let a: Vec<f32> = (0..dimension).map(|i| (i % 7) as f32 - 3.0).collect();
            let b: Vec<f32> = (0..dimension).map(|i| (i % 5) as f32 - 1.0).collect();
            let expected: f32 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            assert!((dot(&a, &b) - expected).abs() < 1e-3, "{dimension}");
        }
    }
}
