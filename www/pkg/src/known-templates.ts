// Written by tests/golden/make_known_templates.py.

/**
 * Of each family of models the architectures and a word of the name that they have (none: any), then its templates: SHA-256 (the first
 * 96 bits, base64) and whose it is.
 */
export const KNOWN_TEMPLATES = `=apertus,
3qaI6fJKM5oNJQT2Apertus-8B-Instruct
=,apriel
FW3Sx06WHwWayiTMApriel-1.5
hrxiWEL2DhpaijqfApriel-1.6-15b-Thinker-fixed
=llama,bielik
owuMRTHdoZGW81+5Bielik-11B-v3.0-Instruct
=seed_oss,
P54NxK3rgDIofQEpByteDance-Seed-OSS
=command-r,
ZYkZ4tgi57MA52sTc4ai-command-r-plus-tool_use
nbLPR84Dv9CqtuxZcommand-r
=cohere2,
zGC1UyeTR9g992H1c4ai-command-r7b-12-2024-tool_use
=chatglm glm4,
5Elvkwv3t7x+fPgjChatGLM3
z2C53Cw2PXMfJ+vTChatGLM4
=cohere2moe,
2DZu+58HxXHaYgzmCohere2MoE
=llama,deepseek
mTwK9wS612rrpCY6deepseek-coder-33b-instruct
3SZ1YZpkpEnNzdK5DeepSeek-R1-Distill-Llama-8B
=deepseek2 deepseek32,deepseek
4NXiJ/Cu26i8NtkXdeepseek-r1
iuulZycPqajVNyyvDeepSeek-V2
2fXzUbJ2z56B0AnbDeepSeek-V3.1
U7loOzZTzsNpgppODeepSeek-V3.2
=qwen2,deepseek
u+WUiEtE10BmfuZaDeepSeek-R1-Distill-Qwen-32B
=deepseek4,
+LRC+rZ+dbOqRoM0DeepSeek-V4
i29zBWfqPgqZTOgKDeepSeek-V4-Flash-0731
=llama,functionary
L8nb+upVL4ZLS4zffunctionary-medium-v3.1
XHyWwnz+zzQYQR0efunctionary-medium-v3.2
=gemma2,
7NauUT/hA/DrYuirgemma-2-2b-it
=gemma4,
WMZv3uSvopeG+gklgemma-4
HTWiSipjzGAMDKtDgemma-4-31B-it
35AO3S/O5d78Jovugemma-4-31B-it-interleaved
=gemma,
PAUCWSedpDQZR9Xwgemma-7b-it
=deepseek2,gigachat
u78t6AC2Rd/gMrHYGigaChat3-10B-A1.8B
ME8NZKo7ow7oXCgbGigaChat3.1-10B-A1.8B
=glm4moe glm4 deepseek2 glm-dsa,glm
5uLd+xP4rvUpqGnjGLM-4.6
1jrVNsPIGIAEPiLsGLM-4.7-Flash
=chatglm llama,glm
qcWJgF1/k4JDlR98GLMEdge
=gpt-oss,
pMmRnLvUrN1RzP/igpt-oss-120b
=granite granitemoe granitehybrid,
CdaO61wOqlUa3qbMgranite-3.0-8b-instruct
0GV7oFZRvSE0Fg56granite-3.3-2B-Instruct
lSTfZ7d6eyWi3+6Jgranite-4.0
/tJ1bS0k4Se5Udzxgranite-4.1
=llama,hermes
zmLjCEdbNk4fx2aZHermes-2-Pro-Llama-3-8B-tool_use
/Peglv6ZpI/ZrSslOpenHermes-2.5-Mistral-7B
=hy_v3,
hEN7l0ZCPwQpIMFSHy3
=deepseek2,kimi
qrIP65vGiB+UHqZJKimi-K2
AukXldInA3QWHHBjKimi-K2-Instruct
QCfUeOaCIE7MU7tCKimi-K2-Thinking
=kimi-k3,
sEVdgXkhDTd1CL7/Kimi-K3
=laguna,
REgZuK1GEocIJ6wFLaguna-S-2.1
xkCGxf6u9EjhuU2lLaguna-XS-2.1
2trSn/KMOAZKkdkoLaguna-XS.2
=lfm2 lfm2moe,
IpT0m1GguaGwGUrdLFM2-8B-A1B
bWXIgEhHrXTuqRLdLFM2.5-8B-A1B
8Fv0uWfcmTvcei/mLFM2.5-Instruct
=bailingmoe2 bailingmoe3,
tKs6HI90jm+HTZrqling-3.0-flash
=llama,llama
tIxH9kQ4knFhdusgLlama-3
k8DpqjYpu9d+aNvALlama-3.1-8B-Instruct
2CeS+Vky8cnO9cS9Llama-3.2-3B-Instruct
=llama,firefunction
XyWfYCxZO9xO5vRhllama-3-firefunction-v2
=llama,megrez
tYkT/OZ/xpg0IT/UMegrez-3B-Instruct
=qwen2vl,mimo
5/o/hwqr/BycrfRIMiMo-VL
=,minicpm5
hseBUKccTFtZfLhXMiniCPM5-1B
=minimax-01,
4XkNj74cWH5vw4XiMiniMax-M1
=minimax-m2,
o+BbEQ4tHM9Tc/LSMiniMax-M2
=minimax-m3,
xW0fOrcIgbDi7Y9RMiniMax-M3
=llama mistral3,stral
MbUMkXdG7xwmEcL+Ministral-3-14B-Reasoning-2512
JqWVVpJcmHMXzlKRMistral-7B-Instruct-v0.2
A5pHEOKquqeehaIzmistral-Devstral-Small-2507
PErV+mDdjHzN+C+kMistral-Large-Instruct-2411
597uA0g42yv8dId4Mistral-Nemo-Instruct-2407
2ZC8zaqiBhHiYUNLMistral-Small-3.2-24B-Instruct-2506
=muse-glimmer,
bNDpTZtIn9uaAAdDmuse-glimmer
=nemotron_h nemotron_h_moe,
Q6kqrMLhabs3BV5NNemotron-3-Nano-30B-A3B-BF16
Uq6OUPoIPmOgpXJuNemotron-Nano-v2
=llama,openchat
kBsQ1HGV+ttWkhN+openchat-3.5-0106
=orion,
GFVYJZ54InpqcrhFOrion-14B-Chat
=phi3 phimoe,phi
Jotggs63F23G7YBVphi-3
YFhBYivLZXIiVgjwPhi-3-medium
eNl2pEK83i8L4VqvPhi-3.5-mini-instruct
pB+4cnxPHnIuU8sephi-4
=qwen2 qwen2moe,qwen
r5wCM4gbCDtS/3c1qwen2
VbL0omrJ7nGTMKYaQwen2.5-7B-Instruct
=qwen3 qwen3moe qwen3next,qwen
h6JyjLjcn+Qk1iRUQwen3-0.6B
6uSKMweTGssQpvzkQwen3-Coder
=qwen35 qwen35moe,
pK7or88uBxGULPhIQwen3.5-4B
=qwen2,qwq
lMYDW08OuQXJXit9QwQ-32B
=,reka
VGsE26dJk++uj52jReka-Edge
=rwkv6 rwkv7 arwkv7 rwkv6qwen2,
5wcjA08JKAliB9mbrwkv-world
=llama,smollm2
hyvknbtjgEStAbYDSmolLM2-135M-Instruct
=smollm3,
y8HVD3d+wCmzP1OySmolLM3-3B
=,solar
wuYiDnTTJgG8me66Solar-Open-100B
=spark2_5,
yI8W8iAkxcWXWidbSpark2.5
=step35,
Ony2Qr81y0EGzTiVStepFun3.5-Flash`;
