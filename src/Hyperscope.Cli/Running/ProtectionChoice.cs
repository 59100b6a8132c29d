using Hyperscope.Kvm;

namespace Hyperscope.Cli.Running;

/// <summary>What <c>--kvm-protect</c> asks for.</summary>
internal static class ProtectionChoice
{
    private static readonly string[] Names = ["auto", "mprotect", "userfaultfd"];

    /// <summary>The option, the same wherever a VM is started.</summary>
    public static Option<string?> Option()
    {
        var option = new Option<string?>("--kvm-protect")
        {
            Description = "How KVM is kept from memory that tools restrict: mprotect, userfaultfd, or auto (unless given): userfaultfd where a probe guest stops at it",
            HelpName = string.Join('|', Names),
        };
        option.Validators.Add(static result =>
        {
            string? name = result.Tokens.Count == 0 ? null : result.Tokens[0].Value;
            if (name is not null && !Names.Contains(name))
                result.AddError($"--kvm-protect {name} is none of {string.Join(", ", Names)}");
        });
        return option;
    }

    /// <summary>The method with that name, which the option has checked.</summary>
    public static ProtectionMethod Parse(string? name) => name switch
    {
        "mprotect" => ProtectionMethod.Mprotect,
        "userfaultfd" => ProtectionMethod.Userfaultfd,
        _ => ProtectionMethod.Auto,
    };
}
