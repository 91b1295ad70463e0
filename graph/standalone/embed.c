/* The model inside the program; LUTHIER_MODEL is the path of the file, quoted. */
__asm__(".section .rodata\n"
        ".balign 64\n"
        ".globl luthier_embedded\n"
        "luthier_embedded:\n"
        ".incbin " LUTHIER_MODEL "\n"
        ".globl luthier_embedded_end\n"
        "luthier_embedded_end:\n"
        ".byte 0\n"
        ".section .note.GNU-stack,\"\",%progbits\n"
        ".text\n");
