"""The engines: vLLM replicas behind Ray Serve deployments. The only package that imports vllm."""
