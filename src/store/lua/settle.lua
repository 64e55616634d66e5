-- Puts what a request has used in place of what was held for it.
-- KEYS 1 what is used (hash: tokens, micro_usd)  2 what is held (hash: holder -> until tokens micro_usd)
-- ARGV 1 holder  2 tokens  3 micro_usd  4 ms: how long what is used is kept
-- Returns 1.
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HINCRBY', KEYS[1], 'tokens', ARGV[2])
redis.call('HINCRBY', KEYS[1], 'micro_usd', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
