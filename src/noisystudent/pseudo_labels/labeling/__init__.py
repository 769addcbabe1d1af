"""Labels a source with a teacher, shard by shard: in one process, or in many that share the shards."""
