using System.Diagnostics;

namespace Hyperscope.TestKit;

/// <summary>Facts about a header of the kernel, checked by a C compiler.</summary>
public static class KernelHeader
{
    private const string Compiler = "/usr/bin/gcc";

    /// <summary>What there is not on this machine; null: all that is needed.</summary>
    /// <param name="header">Such as <c>linux/kvm.h</c>.</param>
    public static string? FindMissing(string header) => !File.Exists($"/usr/include/{header}") ? $"needs {header} (linux-libc-dev)"
        : !File.Exists(Compiler) ? "needs gcc" : null;

    /// <summary>Compares constants with what they are in a header.</summary>
    /// <returns>What the compiler has to say: nothing if all are equal.</returns>
    public static string Compare(string header, IEnumerable<(string Expression, ulong Value)> constants)
    {
        ArgumentNullException.ThrowIfNull(constants);
        string source = Path.Combine(Path.GetTempPath(), $"hyperscope-{Guid.NewGuid():N}.c");
        File.WriteAllLines(source,
        [
            "#include <stddef.h>", "#include <sys/ioctl.h>", $"#include <{header}>",
            .. constants.Select(static row => $"_Static_assert({row.Expression} == {row.Value}u, \"{row.Expression}\");"),
        ]);
        try
        {
            using Process compiler = Process.Start(new ProcessStartInfo(Compiler, ["-fsyntax-only", source]) { RedirectStandardError = true })!;
            string complaints = compiler.StandardError.ReadToEnd();
            compiler.WaitForExit();
            return compiler.ExitCode == 0 ? complaints : $"{complaints}exit status {compiler.ExitCode}";
        }
        finally
        {
            File.Delete(source);
        }
    }
}
