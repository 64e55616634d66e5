//! A sentence encoder in this process: BERT-like weights (MiniLM, BGE) from a directory, on the processor.
//!
//! The directory holds `config.json`, `tokenizer.json`, `model.safetensors` and, where the model's makers say how
//! tokens become one vector, `1_Pooling/config.json`.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use candle_core::{D, DType, Device, IndexOp, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config, DTYPE};
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
    bert: BertModel,
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
        let model = VarBuilder::from_buffered_safetensors(weights, DTYPE, &Device::Cpu)
            .and_then(|weights| BertModel::load(weights, &config))
            .map_err(|e| unusable("model.safetensors", e.to_string()))?;
        let pooling = read("1_Pooling/config.json").map_or(Pooling::Mean, |text| pooling(&text));
        let shown = directory.file_name().and_then(|name| name.to_str()).unwrap_or("model");
        // Vectors are kept by this name: other weights must have another.
        let name = format!("local/{shown}@{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3]);
        Ok(Self { model: Arc::new(Model { bert: model, tokenizer, pooling }), name })
    }
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
            let tokens = self.bert.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
            let pooled = match self.pooling {
                Pooling::FirstToken => tokens.i((.., 0))?,
                Pooling::Mean => {
                    let mask = mask.to_dtype(DType::F32)?.unsqueeze(D::Minus1)?;
                    let sums = tokens.broadcast_mul(&mask)?.sum(1)?;
                    sums.broadcast_div(&mask.sum(1)?)?
                }
            };
            pooled.to_vec2::<f32>()
        };
        work().map_err(|e| e.to_string())
    }
}

#[async_trait]
impl Encoder for LocalEncoder {
    fn name(&self) -> &str {
        &self.name
    }

    fn default_threshold(&self, examples: bool) -> f64 {
        if examples { 0.25 } else { 0.15 }
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
