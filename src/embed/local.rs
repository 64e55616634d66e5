//! A sentence encoder in this process: BERT-like weights (MiniLM, BGE) from a directory, on the processor.
//!
//! The directory holds `config.json`, `tokenizer.json`, `model.safetensors` and, where the model's makers say how
//! tokens become one vector, `1_Pooling/config.json`.
//!
//! A vector is two, one behind the other, each of length 1: what the last layer makes of a text, which is what the model
//! was trained for, and the mean of its tokens halfway there, where words are still more themselves. Agents are told
//! apart better by both than by either (`docs/benchmarks.md`).

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use candle_core::{D, DType, Device, IndexOp, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertEncoder, BertModel, Config, DTYPE};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokenizers::{PaddingParams, Tokenizer, TruncationParams};

use super::dense::Encoder;
use crate::{
    job::{ErrorCode, JobError},
    llm::CallContext,
    settings::Aggregation,
};

/// Tokens of a text that are read: what sentence encoders are trained on.
const MAX_TOKENS: usize = 256;
/// Texts that go through the model together.
const BATCH: usize = 32;

/// How tokens become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pooling {
    Mean,
    FirstToken,
}

struct Model {
    /// The embeddings of tokens and the lower half of the layers.
    lower: BertModel,
    /// The upper half.
    upper: BertEncoder,
    tokenizer: Tokenizer,
    pooling: Pooling,
}

/// Vectors from a model in memory.
pub struct LocalEncoder {
    model: Arc<Model>,
    name: String,
}

impl LocalEncoder {
    /// Loads the model in `directory`.
    ///
    /// # Errors
    /// Which file is missing or cannot be used.
    pub fn load(directory: &Path) -> Result<Self, String> {
        let read = |name: &str| {
            let path = directory.join(name);
            std::fs::read(&path).map_err(|e| format!("embeddings.directory: {}: {e}", path.display()))
        };
        let unusable = |name: &str, why: String| format!("embeddings.directory: {name} cannot be used: {why}");
        let config: Config =
            serde_json::from_slice(&read("config.json")?).map_err(|e| unusable("config.json", e.to_string()))?;
        let mut tokenizer =
            Tokenizer::from_bytes(read("tokenizer.json")?).map_err(|e| unusable("tokenizer.json", e.to_string()))?;
        tokenizer.with_padding(Some(PaddingParams::default()));
        let truncation = TruncationParams { max_length: MAX_TOKENS, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(|e| unusable("tokenizer.json", e.to_string()))?;
        let weights = read("model.safetensors")?;
        let digest = Sha256::digest(&weights);
        let (lower, upper) = VarBuilder::from_buffered_safetensors(weights, DTYPE, &Device::Cpu)
            .and_then(|weights| halves(&weights, &config))
            .map_err(|e| unusable("model.safetensors", e.to_string()))?;
        let pooling = read("1_Pooling/config.json").map_or(Pooling::Mean, |text| pooling(&text));
        let shown = directory.file_name().and_then(|name| name.to_str()).unwrap_or("model");
        // Vectors are kept by this name: other weights must have another.
        let digest = format!("{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3]);
        let name = format!("local/{shown}@{digest}+{}", config.num_hidden_layers / 2);
        Ok(Self { model: Arc::new(Model { lower, upper, tokenizer, pooling }), name })
    }
}

/// The model in two, so that what is halfway can be seen.
fn halves(weights: &VarBuilder, config: &Config) -> candle_core::Result<(BertModel, BertEncoder)> {
    let half = config.num_hidden_layers / 2;
    let lower = BertModel::load(weights.clone(), &Config { num_hidden_layers: half, ..config.clone() })?;
    // Some files have the name of the model before that of each tensor.
    let known = |weights: &VarBuilder| weights.contains_tensor("embeddings.word_embeddings.weight");
    let prefixed = config.model_type.as_ref().map(|name| weights.pp(name)).filter(|_| !known(weights));
    let mut upper = BertEncoder::load(prefixed.as_ref().unwrap_or(weights).pp("encoder"), config)?;
    upper.layers.drain(..half);
    Ok((lower, upper))
}

fn pooling(text: &[u8]) -> Pooling {
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        pooling_mode_cls_token: bool,
    }
    match serde_json::from_slice::<Config>(text) {
        Ok(Config { pooling_mode_cls_token: true }) => Pooling::FirstToken,
        _ => Pooling::Mean,
    }
}

impl Model {
    /// The vectors of `texts`, in their order. Texts of like length go together, so that little is padded.
    fn encode(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, String> {
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|i| texts[*i].len());
        let mut vectors = vec![Vec::new(); texts.len()];
        for batch in order.chunks(BATCH) {
            let inputs: Vec<&str> = batch.iter().map(|i| texts[*i].as_str()).collect();
            for (i, vector) in batch.iter().zip(self.batch(inputs)?) {
                vectors[*i] = vector;
            }
        }
        Ok(vectors)
    }

    fn batch(&self, texts: Vec<&str>) -> Result<Vec<Vec<f32>>, String> {
        let encodings = self.tokenizer.encode_batch(texts, true).map_err(|e| e.to_string())?;
        let rows = |of: fn(&tokenizers::Encoding) -> &[u32]| {
            let rows = encodings.iter().map(|encoding| Tensor::new(of(encoding), &Device::Cpu));
            rows.collect::<candle_core::Result<Vec<_>>>().and_then(|rows| Tensor::stack(&rows, 0))
        };
        let work = || {
            let (ids, mask) = (rows(|e| e.get_ids())?, rows(|e| e.get_attention_mask())?);
            let halfway = self.lower.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
            let mask = mask.to_dtype(DType::F32)?;
            let end = self.upper.forward(&halfway, &blinded(&mask)?)?;
            let end = match self.pooling {
                Pooling::FirstToken => end.i((.., 0))?,
                Pooling::Mean => mean(&end, &mask)?,
            };
            Tensor::cat(&[unit(&end)?, unit(&mean(&halfway, &mask)?)?], 1)?.to_vec2::<f32>()
        };
        work().map_err(|e| e.to_string())
    }
}

/// What attention adds for each token: nothing, or so little for padding that it is not seen.
fn blinded(mask: &Tensor) -> candle_core::Result<Tensor> {
    let padding = (mask.ones_like()? - mask)?;
    (padding.unsqueeze(1)?.unsqueeze(1)? * f64::from(f32::MIN))?.contiguous()
}

/// The mean over the tokens that are no padding.
fn mean(tokens: &Tensor, mask: &Tensor) -> candle_core::Result<Tensor> {
    let mask = mask.unsqueeze(D::Minus1)?;
    tokens.broadcast_mul(&mask)?.sum(1)?.broadcast_div(&mask.sum(1)?)
}

/// Each row, brought to length 1.
fn unit(rows: &Tensor) -> candle_core::Result<Tensor> {
    rows.broadcast_div(&rows.sqr()?.sum_keepdim(1)?.sqrt()?)
}

#[async_trait]
impl Encoder for LocalEncoder {
    fn name(&self) -> &str {
        &self.name
    }

    fn default_threshold(&self, examples: bool) -> f64 {
        if examples { 0.48 } else { 0.33 }
    }

    fn default_aggregation(&self) -> Aggregation {
        Aggregation::Hybrid
    }

    async fn encode(&self, texts: &[String], _: &CallContext<'_>) -> Result<Vec<Result<Vec<f32>, JobError>>, JobError> {
        let (model, texts) = (self.model.clone(), texts.to_vec());
        let failed = |why: String| JobError::new(ErrorCode::Internal, format!("the local encoder failed: {why}"));
        // The model keeps a processor busy for milliseconds: not on a thread that serves connections.
        let done = tokio::task::spawn_blocking(move || model.encode(&texts)).await;
        let vectors = done.map_err(|e| failed(e.to_string()))?.map_err(failed)?;
        Ok(vectors.into_iter().map(Ok).collect())
    }
}
