//go:build !purego

#include "textflag.h"

// SHA-256 (FIPS 180-4) of two messages at once. Each of the instructions for it waits for the
// result of the one before, and processors can do twice as many in that time: the rounds of one
// message run while those of the other wait. X1 and X2 are the state of message a, X3 to X6 the
// last sixteen words of its schedule; X7 to X12 are those of b. X0 is what SHA256RNDS2 reads:
// words of the schedule plus round constants.

#define LOAD(off, ptr, M) \
	MOVOU  off(ptr), M; \
	PSHUFB X14, M

// Four rounds.
#define ROUNDS(off, S0, S1, M) \
	MOVOU       off(AX), X0; \
	PADDD       M, X0; \
	SHA256RNDS2 X0, S0, S1; \
	PSHUFD      $0x0e, X0, X0; \
	SHA256RNDS2 X0, S1, S0

// The rest of the next four words of the schedule, which SHA256MSG1 has begun.
#define NEXT(Mprev, M, Mnext) \
	MOVO       M, X13; \
	PALIGNR    $4, Mprev, X13; \
	PADDD      X13, Mnext; \
	SHA256MSG2 M, Mnext

#define BOTH_ROUNDS(off, MA, MB) \
	ROUNDS(off, X1, X2, MA); \
	ROUNDS(off, X7, X8, MB)

// Rounds 4 to 11.
#define GROUP_EARLY(off, PA, MA, PB, MB) \
	BOTH_ROUNDS(off, MA, MB); \
	SHA256MSG1 MA, PA; \
	SHA256MSG1 MB, PB

// Rounds 12 to 51.
#define GROUP(off, PA, MA, NA, PB, MB, NB) \
	BOTH_ROUNDS(off, MA, MB); \
	NEXT(PA, MA, NA); \
	NEXT(PB, MB, NB); \
	SHA256MSG1 MA, PA; \
	SHA256MSG1 MB, PB

// Rounds 52 to 59.
#define GROUP_LATE(off, PA, MA, NA, PB, MB, NB) \
	BOTH_ROUNDS(off, MA, MB); \
	NEXT(PA, MA, NA); \
	NEXT(PB, MB, NB)

// The state in the order of the digest.
#define OUT(S0, S1, off) \
	PSHUFD  $0x1b, S0, S0; \
	PSHUFD  $0xb1, S1, S1; \
	MOVO    S0, X13; \
	PBLENDW $0xf0, S1, S0; \
	PALIGNR $8, X13, S1; \
	PSHUFB  X14, S0; \
	PSHUFB  X14, S1; \
	MOVOU   S0, off(DI); \
	MOVOU   S1, (off+16)(DI)

// func sha256Two(out *[64]byte, a, b *byte, blocks int, last *[64]byte)
TEXT ·sha256Two(SB), NOSPLIT, $64-40
	MOVQ  out+0(FP), DI
	MOVQ  a+8(FP), SI
	MOVQ  b+16(FP), BX
	MOVQ  blocks+24(FP), CX
	MOVQ  last+32(FP), DX
	LEAQ  constants<>(SB), AX
	MOVOU flip<>(SB), X14
	MOVOU iv<>+0(SB), X1
	MOVOU iv<>+16(SB), X2
	MOVO  X1, X7
	MOVO  X2, X8

block:
	MOVOU X1, 0(SP)
	MOVOU X2, 16(SP)
	MOVOU X7, 32(SP)
	MOVOU X8, 48(SP)

	LOAD(0, SI, X3) // SI and BX are where the messages are read
	LOAD(0, BX, X9)
	BOTH_ROUNDS(0, X3, X9)
	LOAD(16, SI, X4)
	LOAD(16, BX, X10)
	GROUP_EARLY(16, X3, X4, X9, X10)
	LOAD(32, SI, X5)
	LOAD(32, BX, X11)
	GROUP_EARLY(32, X4, X5, X10, X11)
	LOAD(48, SI, X6)
	LOAD(48, BX, X12)
	GROUP(48, X5, X6, X3, X11, X12, X9)
	GROUP(64, X6, X3, X4, X12, X9, X10)
	GROUP(80, X3, X4, X5, X9, X10, X11)
	GROUP(96, X4, X5, X6, X10, X11, X12)
	GROUP(112, X5, X6, X3, X11, X12, X9)
	GROUP(128, X6, X3, X4, X12, X9, X10)
	GROUP(144, X3, X4, X5, X9, X10, X11)
	GROUP(160, X4, X5, X6, X10, X11, X12)
	GROUP(176, X5, X6, X3, X11, X12, X9)
	GROUP(192, X6, X3, X4, X12, X9, X10)
	GROUP_LATE(208, X3, X4, X5, X9, X10, X11)
	GROUP_LATE(224, X4, X5, X6, X10, X11, X12)
	BOTH_ROUNDS(240, X6, X12)

	MOVOU 0(SP), X13
	PADDD X13, X1
	MOVOU 16(SP), X13
	PADDD X13, X2
	MOVOU 32(SP), X13
	PADDD X13, X7
	MOVOU 48(SP), X13
	PADDD X13, X8

	ADDQ $64, SI
	ADDQ $64, BX
	DECQ CX
	JG   block
	JL   done
	MOVQ DX, SI // both end with the same block
	MOVQ DX, BX
	JMP  block

done:
	OUT(X1, X2, 0)
	OUT(X7, X8, 32)
	RET

// func cpuid(leaf, sub uint32) (a, b, c, d uint32)
TEXT ·cpuid(SB), NOSPLIT, $0-24
	MOVL leaf+0(FP), AX
	MOVL sub+4(FP), CX
	CPUID
	MOVL AX, a+8(FP)
	MOVL BX, b+12(FP)
	MOVL CX, c+16(FP)
	MOVL DX, d+20(FP)
	RET

// Words are big-endian.
DATA flip<>+0(SB)/8, $0x0405060700010203
DATA flip<>+8(SB)/8, $0x0c0d0e0f08090a0b
GLOBL flip<>(SB), RODATA|NOPTR, $16

// The initial state, a to h, in the order of the instructions.
DATA iv<>+0(SB)/4, $0x9b05688c // f
DATA iv<>+4(SB)/4, $0x510e527f // e
DATA iv<>+8(SB)/4, $0xbb67ae85 // b
DATA iv<>+12(SB)/4, $0x6a09e667 // a
DATA iv<>+16(SB)/4, $0x5be0cd19 // h
DATA iv<>+20(SB)/4, $0x1f83d9ab // g
DATA iv<>+24(SB)/4, $0xa54ff53a // d
DATA iv<>+28(SB)/4, $0x3c6ef372 // c
GLOBL iv<>(SB), RODATA|NOPTR, $32

// The constants of the 64 rounds.
DATA constants<>+0(SB)/4, $0x428a2f98
DATA constants<>+4(SB)/4, $0x71374491
DATA constants<>+8(SB)/4, $0xb5c0fbcf
DATA constants<>+12(SB)/4, $0xe9b5dba5
DATA constants<>+16(SB)/4, $0x3956c25b
DATA constants<>+20(SB)/4, $0x59f111f1
DATA constants<>+24(SB)/4, $0x923f82a4
DATA constants<>+28(SB)/4, $0xab1c5ed5
DATA constants<>+32(SB)/4, $0xd807aa98
DATA constants<>+36(SB)/4, $0x12835b01
DATA constants<>+40(SB)/4, $0x243185be
DATA constants<>+44(SB)/4, $0x550c7dc3
DATA constants<>+48(SB)/4, $0x72be5d74
DATA constants<>+52(SB)/4, $0x80deb1fe
DATA constants<>+56(SB)/4, $0x9bdc06a7
DATA constants<>+60(SB)/4, $0xc19bf174
DATA constants<>+64(SB)/4, $0xe49b69c1
DATA constants<>+68(SB)/4, $0xefbe4786
DATA constants<>+72(SB)/4, $0x0fc19dc6
DATA constants<>+76(SB)/4, $0x240ca1cc
DATA constants<>+80(SB)/4, $0x2de92c6f
DATA constants<>+84(SB)/4, $0x4a7484aa
DATA constants<>+88(SB)/4, $0x5cb0a9dc
DATA constants<>+92(SB)/4, $0x76f988da
DATA constants<>+96(SB)/4, $0x983e5152
DATA constants<>+100(SB)/4, $0xa831c66d
DATA constants<>+104(SB)/4, $0xb00327c8
DATA constants<>+108(SB)/4, $0xbf597fc7
DATA constants<>+112(SB)/4, $0xc6e00bf3
DATA constants<>+116(SB)/4, $0xd5a79147
DATA constants<>+120(SB)/4, $0x06ca6351
DATA constants<>+124(SB)/4, $0x14292967
DATA constants<>+128(SB)/4, $0x27b70a85
DATA constants<>+132(SB)/4, $0x2e1b2138
DATA constants<>+136(SB)/4, $0x4d2c6dfc
DATA constants<>+140(SB)/4, $0x53380d13
DATA constants<>+144(SB)/4, $0x650a7354
DATA constants<>+148(SB)/4, $0x766a0abb
DATA constants<>+152(SB)/4, $0x81c2c92e
DATA constants<>+156(SB)/4, $0x92722c85
DATA constants<>+160(SB)/4, $0xa2bfe8a1
DATA constants<>+164(SB)/4, $0xa81a664b
DATA constants<>+168(SB)/4, $0xc24b8b70
DATA constants<>+172(SB)/4, $0xc76c51a3
DATA constants<>+176(SB)/4, $0xd192e819
DATA constants<>+180(SB)/4, $0xd6990624
DATA constants<>+184(SB)/4, $0xf40e3585
DATA constants<>+188(SB)/4, $0x106aa070
DATA constants<>+192(SB)/4, $0x19a4c116
DATA constants<>+196(SB)/4, $0x1e376c08
DATA constants<>+200(SB)/4, $0x2748774c
DATA constants<>+204(SB)/4, $0x34b0bcb5
DATA constants<>+208(SB)/4, $0x391c0cb3
DATA constants<>+212(SB)/4, $0x4ed8aa4a
DATA constants<>+216(SB)/4, $0x5b9cca4f
DATA constants<>+220(SB)/4, $0x682e6ff3
DATA constants<>+224(SB)/4, $0x748f82ee
DATA constants<>+228(SB)/4, $0x78a5636f
DATA constants<>+232(SB)/4, $0x84c87814
DATA constants<>+236(SB)/4, $0x8cc70208
DATA constants<>+240(SB)/4, $0x90befffa
DATA constants<>+244(SB)/4, $0xa4506ceb
DATA constants<>+248(SB)/4, $0xbef9a3f7
DATA constants<>+252(SB)/4, $0xc67178f2
GLOBL constants<>(SB), RODATA|NOPTR, $256
