"""The log: framing and checksums, append and sync, reading up to a torn tail, the durable watermark."""
