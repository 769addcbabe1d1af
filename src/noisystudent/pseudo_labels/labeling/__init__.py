"""A teacher over a source, shard by shard: by one process, or by many that share the shards."""
